"""The figures of arXiv 2401.06080 that need no policy to be trained, on small heads and HH.

    python -m benchmarks.paper [--quick] [--json PATH]

The paper trains ten Llama-2-7B on 151,000 pairs of HH; here heads on a frozen MiniLM learn from
5,771 of them in seconds. What is asked is whether the same things show, not whether the figures are
the same. Where truth is needed, a fifth of the labels is flipped on purpose and trusted labels are
those from before; where a second opinion is needed, it is GPT-3.5's on the same pairs. Every seed
has a split by prompt, bags and flips of its own; figures are means over seeds with their standard
deviation, differences have Student's 95 % interval over seeds. What counts as agreeing with the
paper is written beside each figure's code.
"""

from collections.abc import Callable, Iterator

from benchmarks import paper_learning, paper_strength, paper_treatments
from benchmarks.paper_scene import (
    MEMBERS,
    RELABELLED,
    Finding,
    as_they_are,
    hh,
    planted,
    second_labels,
    taught_on,
)
from benchmarks.planted_flips import HH
from benchmarks.reporting import Report, Row, options_of, say

SEEDS = range(5)
FEWER = 3  # seeds of what goes downhill, which takes longest
QUICK_PAIRS = 1200
QUICK_PROMPTS = 40
AGREES = {"yes": 1.0, "not clearly": 0.5, "no": 0.0}


def main() -> None:
    options = options_of("paper", "The figures of arXiv 2401.06080 on small heads.")
    report = Report("paper")
    absent = [path for path in (HH, RELABELLED, paper_learning.SAMPLED) if not path.exists()]
    for path in absent:
        report.skip(f"everything, because {path} is absent (set CURATOR_BENCH_DATA).")
    for finding in () if absent else found(is_quick=options.quick):
        print(f"\n{finding.as_markdown()}", flush=True)
        report.rows.append(
            Row(
                f"figure {finding.figure}", AGREES[finding.agrees], note=f"agrees: {finding.agrees}"
            )
        )
        report.details.append(finding.as_dict())
    print()
    report.show(options.json)


def found(*, is_quick: bool) -> Iterator[Finding]:
    """Every figure, in the paper's order within each of three parts."""
    seeds = range(1) if is_quick else SEEDS
    prepared = hh(QUICK_PAIRS if is_quick else None)
    second = second_labels(prepared)
    real = [as_they_are(prepared, seed, second) for seed in seeds]
    flipped = [planted(prepared, seed) for seed in seeds]
    say(f"  {int((second != 0).sum()):,} pairs have a second label")
    taught, taught_flipped = (
        [taught_on(one, members=MEMBERS) for one in scenes] for scenes in (real, flipped)
    )
    yield from paper_strength.strengths(taught)
    yield paper_strength.agreement(taught, taught_flipped)
    yield from paper_strength.deciles(taught)
    yield from paper_strength.sweeps(taught_flipped)
    yield from paper_treatments.treatments(taught_flipped, taught)
    parts: list[Callable[[], list[Finding]]] = [
        lambda: [paper_treatments.strong(taught)],
        lambda: paper_learning.inflating(real[:FEWER]),
        lambda: [paper_learning.separability(real[:FEWER])],
        lambda: [
            paper_learning.spreading(
                real[:FEWER],
                paper_learning.sampled_responses(
                    QUICK_PROMPTS if is_quick else paper_learning.PROMPTS
                ),
            )
        ],
    ]
    for part in parts:
        yield from part()


if __name__ == "__main__":
    main()
