"""Whether cleaned labels make better models, where the truth is known, and how long it takes to
tell.

    python -m benchmarks.experiments [--quick] [--json PATH]

A share of the labels of real pairs is flipped before they are imported; the product's own commands
train, score, apply a policy and freeze, for one policy after the other; then one experiment
compares all snapshots with the labels as imported, on what the labels said before. The ensemble
that a policy went by has learnt held-out labels too, so a second experiment does the same by
recipes, whose flags are measured in each trial without what is held out: that is the honest answer.
Where CURATOR_BENCH_CACHE names a folder of embeddings, they are taken from there.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotations.formats.parsed import ParsedPair
from benchmarks.measuring import DATA, Installation, installation
from benchmarks.planted_flips import Case
from benchmarks.prepared import read
from benchmarks.reporting import Report, Row, options_of, say

HH = Case("hh-rlhf", DATA / "pairs" / "hh_rlhf.jsonl.gz")
VICUNA = Case("vicuna80", DATA / "pairs" / "vicuna80.jsonl.gz")
POLICIES = ("conservative", "remove-suspects", "paper-flip-bottom-10")
# what these policies do, as recipes
FLAGGED = {
    "soften flagged": {"probability": "calibrated"},
    "drop flagged": {"drop": True},
    "flip flagged": {"flip": True},
}
RATES = (0.2, 0.3, 0.4)
SEEDS, FOLDS = 5, 5
LONGEST = 120.0  # seconds for 4 arms of 5 seeds on 5,797 pairs, embeddings cached
OTHER_SIDE = {"a": "b", "b": "a"}


@dataclass(frozen=True)
class Planted:
    """A file of pairs with flipped labels, and one that says which."""

    slug: str
    pairs: Path
    truth: Path


def main() -> None:
    options = options_of("experiments", "Whether cleaned labels make better models.")
    cases = [(VICUNA, (0.2,), 2)] if options.quick else [(HH, RATES, SEEDS)]
    report = Report("experiments", baseline="raw labels")
    with installation() as curator:
        take_embeddings(curator)
        with curator.serving():
            for case, rates, seeds in cases:
                if not case.path.exists():
                    report.skip(f"{case.name}: {case.path} is absent (set CURATOR_BENCH_DATA).")
                    continue
                pairs = read(case)
                for rate in rates:
                    say(f"{case.name}, {rate:.0%} flipped:")
                    report.rows += figures(curator, case, pairs, rate, seeds)
    report.show(options.json)


def take_embeddings(curator: Installation) -> None:
    """Those of an earlier benchmark, so that nothing is embedded again."""
    cache = os.environ.get("CURATOR_BENCH_CACHE")
    if cache and Path(cache).is_dir():
        shutil.copytree(cache, curator.home / "embeddings", dirs_exist_ok=True)


def figures(
    curator: Installation, case: Case, pairs: list[ParsedPair], rate: float, seeds: int
) -> list[Row]:
    """Plant, clean by each policy, and compare on the labels of before."""
    planted = plant(curator.home, case, pairs, rate)
    curator.run("import_pairs", planted.pairs, "--dataset", planted.slug)
    curator.run("train_ensemble", planted.slug, "--name", "heads")
    curator.run("score", planted.slug, "--ensemble", "heads")
    arms = ["--arm", "raw labels=source"]
    decided = {}
    for policy in POLICIES:
        batch = curator.run("decide", planted.slug, "--policy", policy).found
        decided[policy] = batch["counts"]
        snapshot = curator.run("snapshot", planted.slug).found
        arms += ["--arm", f"{policy}=snapshot:{snapshot['number']}"]
        curator.run("undo", batch["batch"])
    inside = ["--arm", "raw labels=source"]
    for name, then in FLAGGED.items():
        recipe = curator.home / f"{name.replace(' ', '-')}.json"
        treatment = {"when": {"flag": "flipped"}, "then": then}
        recipe.write_text(json.dumps({"name": name, "treatments": [treatment]}))
        inside += ["--arm", f"{name}=source@{recipe}"]
    judged_by = ("--truth", planted.truth, "--seeds", seeds, "--folds", FOLDS)
    made = []
    for chosen, how in ((arms, "snapshots"), (inside, "flags measured outside the fold")):
        found = curator.run("experiment", planted.slug, *chosen, *judged_by).found
        say(f"  {how}: {found['verdict']}")
        made += rows(case, rate, found, decided, how)
    return made


def rows(
    case: Case,
    rate: float,
    found: Mapping[str, Any],
    decided: Mapping[str, Mapping[str, int]],
    how: str,
) -> list[Row]:
    """Accuracy on the labels of before, in points; a difference counts where its interval leaves
    out nought."""
    raw, *cleaned = found["arms"]
    differences = {each["arm"]: each for each in found["differences"] if each["on"] == "trusted"}
    at = f"{case.name}, {rate:.0%} flipped, {how}"
    made = [
        Row(
            f"{at}: seconds of the experiment",
            found["wall_seconds"],
            "s",
            target=LONGEST if case is HH else None,
            smaller_is_better=True,
            note=f"{len(found['arms'])} arms, {len(found['seeds'])} seeds, "
            f"{found['pairs']['trusted']:,} pairs judged",
        ),
        Row(
            f"{at}: accuracy of raw labels",
            raw["accuracy"]["trusted"]["estimate"],
            note=f"on the raw labels themselves {raw['accuracy']['raw']['estimate']:.3f}",
        ),
    ]
    for arm in cleaned:
        difference = differences[arm["name"]]
        low, high = 100 * difference["low"], 100 * difference["high"]
        told = "better" if low > 0 else "worse" if high < 0 else "no difference can be told"
        did = decided.get(arm["name"], {})
        counts = "".join(f"; {verdict} {n:,}" for verdict, n in did.items())
        made.append(
            Row(
                f"  {arm['name']}",
                arm["accuracy"]["trusted"]["estimate"],
                baseline=raw["accuracy"]["trusted"]["estimate"],
                note=f"{100 * difference['estimate']:+.2f} points ({low:+.2f} to {high:+.2f}): "
                f"{told}; Brier {arm['brier']['estimate']:.4f} for "
                f"{raw['brier']['estimate']:.4f}{counts}",
            )
        )
    return made


def plant(folder: Path, case: Case, pairs: list[ParsedPair], rate: float) -> Planted:
    """Write the pairs with that share of labels flipped at random, each as its source's word, and
    which of them are."""
    flipped = np.random.default_rng(int(1000 * rate)).random(len(pairs)) < rate
    slug = f"{case.name}-{round(100 * rate)}"
    planted = Planted(slug, folder / f"{slug}.jsonl", folder / f"{slug}.truth.jsonl")
    with planted.pairs.open("w", encoding="utf-8") as file, planted.truth.open("w") as truth:
        for pair, is_flipped in zip(pairs, flipped.tolist(), strict=True):
            label = OTHER_SIDE[pair.source_preference] if is_flipped else pair.source_preference
            row = {
                "id": pair.source_id,
                "prompt": pair.prompt,
                "response_a": pair.response_a,
                "response_b": pair.response_b,
                "labels": [{"annotator": "source", "kind": "source", "label": label}],
                "meta": dict(pair.meta),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            truth.write(json.dumps({"id": pair.source_id, "flipped": is_flipped}) + "\n")
    return planted


if __name__ == "__main__":
    main()
