"""How well the flags find labels that are wrong on purpose, on real pairs, beside the reference of
docs/method.md.

    python -m benchmarks.planted_flips [--quick] [--json PATH]

Each set is imported, trained on and scored by the product's own commands with its defaults; then
`audit --plant 0.1` flips a tenth of the labels in a copy, once a seed. AUROC .5 is chance.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import DATA, REPOSITORY, Installation, installation
from benchmarks.reporting import Report, Row, mean_row, options_of, say

SHARE = 0.1
SEEDS = range(5)
ENSEMBLE = "heads"


@dataclass(frozen=True)
class Case:
    """A set of pairs, and what is asked of it: AUROC, the reference's, and mean accuracy of one
    member."""

    name: str
    path: Path
    auroc: float | None = None
    reference: float | None = None
    member_accuracy: float | None = None
    subset: str = ""  # only the pairs whose meta names it
    is_quick: bool = False

    def file(self, folder: Path) -> Path:
        """The file to import: the source's own, or its subset written into the folder."""
        if not self.subset:
            return self.path
        chosen = folder / f"{self.subset}.jsonl"
        with gzip.open(self.path, "rt", encoding="utf-8") as source, chosen.open("w") as target:
            target.writelines(
                line for line in source if json.loads(line)["meta"]["subset"] == self.subset
            )
        return chosen


HH = DATA / "pairs" / "hh_rlhf.jsonl.gz"
CASES = (
    Case("demo", REPOSITORY / "curator" / "demo" / "pairs.jsonl", 0.72, 0.753, is_quick=True),
    Case("vicuna80", DATA / "pairs" / "vicuna80.jsonl.gz", 0.78, 0.802, is_quick=True),
    Case("hh-rlhf", HH, member_accuracy=0.57),
    Case("hh-harmless", HH, 0.64, 0.676, subset="harmless-base"),
)


def main() -> None:
    options = options_of("planted_flips", "How well the flags find planted flips.")
    seeds = range(1) if options.quick else SEEDS
    report = Report("planted_flips", baseline="reference")
    with installation() as curator, curator.serving():
        for case in CASES:
            if options.quick and not case.is_quick:
                continue
            if not case.path.exists():
                report.skip(f"{case.name}, because {case.path} is absent (set CURATOR_BENCH_DATA).")
                continue
            say(f"{case.name}:")
            report.rows += figures(curator, case, seeds)
    report.show(options.json)


def figures(curator: Installation, case: Case, seeds: Sequence[int]) -> list[Row]:
    """Import, train, score and audit one set; all figures are shares between 0 and 1."""
    curator.run("import_pairs", case.file(curator.home), "--dataset", case.name)
    trained = curator.run("train_ensemble", case.name, "--name", ENSEMBLE).found
    scored = curator.run("score", case.name, "--ensemble", ENSEMBLE).found
    planting = ("audit", case.name, "--run", scored["run"], "--plant", SHARE, "--seed")
    audits = [curator.run(*planting, seed).found for seed in seeds]
    members = [member["out_of_bag_accuracy"] for member in trained["members"]]
    precisions = [found["precision"] for found in audits if found["precision"] is not None]
    flagged = sum(found["flagged"] for found in audits) / len(audits)
    pairs = audits[0]["pairs"]
    return [
        mean_row(
            f"{case.name}: AUROC",
            [found["auroc"] for found in audits],
            target=case.auroc,
            baseline=case.reference,
            note=f"{pairs:,} labelled pairs, {SHARE:.0%} planted, seeds 0 to {seeds[-1]}",
        ),
        mean_row("  average precision", [found["average_precision"] for found in audits]),
        mean_row(
            "  precision of the flags",
            precisions,
            note=f"{flagged:,.0f} of {pairs:,} flagged, by {audits[0]['cut_by']}",
        ),
        mean_row("  recall of the flags", [found["recall"] for found in audits]),
        Row(
            "  accuracy of the ensemble", scored["accuracy"], note="out-of-bag, labels as they are"
        ),
        mean_row(
            "  accuracy of one member",
            members,
            target=case.member_accuracy,
            note=f"out-of-bag, from {min(members):.3f} to {max(members):.3f}",
        ),
    ]


if __name__ == "__main__":
    main()
