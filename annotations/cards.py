"""The dataset card of a snapshot in Markdown, with the front matter that the model hub reads.

What people typed stands in it as text: it makes no link, heading, table or key of its own.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from unicodedata import category

from annotations.rendering import plainly
from curator.lib.intervals import Estimate

FEW_LABELS = 1000
WEAK = 0.65  # share of the labels that an ensemble agrees with, below which it says little
LOPSIDED = 0.6  # share of the preferred responses that are the longer ones, or A
LICENCES = {
    "apache-2.0": r"apache(?: license)?(?:,? version)?[- ]2(?:\.0)?",
    "mit": r"mit",
    "cc0-1.0": r"cc0(?:-1\.0)?",
    "cc-by-4.0": r"cc[- ]by[- ]4\.0",
    "cc-by-sa-4.0": r"cc[- ]by[- ]sa[- ]4\.0",
    "cc-by-nc-4.0": r"cc[- ]by[- ]nc[- ]4\.0",
    "cc-by-nc-sa-4.0": r"cc[- ]by[- ]nc[- ]sa[- ]4\.0",
    "odc-by": r"odc[- ]by",
}
SIZES = (1_000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M"), (10_000_000, "10M")
VERDICTS = {
    "": "not decided: the source's label stands",
    "keep": "label kept",
    "flip": "label flipped",
    "soften": "label kept with a probability",
    "tie": "made a tie",
    "drop": "dropped",
    "a": "A preferred, where the source had no label",
    "b": "B preferred, where the source had no label",
}
# by a backslash, but for those that would then begin a formula
ESCAPES = {ord(sign): f"\\{sign}" for sign in "`*_<>#|~!{}"}
ESCAPES |= {ord(sign): f"&#{ord(sign)};" for sign in "[]$\\"} | {ord("&"): "&amp;"}
UNWRITTEN = ("Cc", "Cs", "Cn")
AT_LINE_START = re.compile(r"^(\d{0,9})([-+=.)])")  # what begins a list or underlines a heading
PAPER = """@article{wang2024secrets,
  title  = {Secrets of RLHF in Large Language Models Part II: Reward Modeling},
  author = {Wang, Binghai and Zheng, Rui and Chen, Lu and Liu, Yan and Dou, Shihan and others},
  journal = {arXiv preprint arXiv:2401.06080},
  year   = {2024}
}"""


@dataclass(frozen=True)
class Scored:
    """What scoring says of the run whose figures the snapshot holds."""

    words: str  # which run
    mode: str  # out-of-bag or in-sample
    ensemble: str
    members: int
    made_of: str  # what the members are
    accuracy: float | None  # share of the labels that the ensemble agrees with
    flag_names: Mapping[str, str]
    noise: Sequence[str]  # sentences on how many labels are wrong, with intervals
    limits: Sequence[str] = ()  # further sentences on what the run could not do


@dataclass(frozen=True)
class Agreement:
    """How far people agree, and on how many pairs with at least two labels."""

    title: str
    figure: Estimate | None
    pairs: int
    reason: str = ""  # why there is no figure


@dataclass(frozen=True)
class AppliedPolicy:
    """A policy that holds some of the verdicts."""

    name: str
    digest: str
    pairs: int


@dataclass(frozen=True)
class FoundByCheck:
    """What a check of the texts found."""

    title: str
    explanation: str
    pairs: int


@dataclass(frozen=True)
class File:
    """A file written from the snapshot."""

    name: str
    rows: int
    left_out: Mapping[str, int]
    sha256: str


@dataclass(frozen=True)
class Card:
    """All that the card of a snapshot says."""

    slug: str
    name: str
    description: str
    number: int
    digest: str
    frozen_on: str  # a date
    frozen_by: str
    note: str
    pairs: int
    prompts: int
    labelled: int  # of which the source prefers one response
    verdicts: Mapping[str, int]
    preferences: Mapping[str, int]
    origins: Sequence[tuple[str, int]]
    flags: Mapping[str, int]
    by_people: int  # verdicts that a person holds
    by_people_in_bulk: int  # of those, what was decided together with others
    policies: Sequence[AppliedPolicy]
    labels: Mapping[str, int]  # judgements, by kind of annotator
    annotators: Mapping[str, int]
    agreement: Sequence[Agreement]
    checks: Sequence[FoundByCheck]
    prefers_a: int  # of the labelled
    prefers_longer: int
    unequal: int  # labelled pairs whose responses differ in length
    unreviewed: int  # likely flipped labels that nobody has decided
    scored: Scored | None = None
    written_later: str = ""  # the date, where that was not when it was frozen

    @property
    def trained_on(self) -> int:
        """Pairs that a file for training holds."""
        return sum(self.preferences.get(side, 0) for side in ("a", "b"))


def write(card: Card) -> str:
    """The card as a Markdown file."""
    sections = (
        _summary(card),
        _counts(card),
        _source(card),
        _checking(card),
        _agreement(card),
        _noise(card),
        _checks(card),
        _limits(card),
        _frozen(card),
        _loading(card),
        _citing(card),
    )
    return "\n\n".join([_front_matter(card), *("\n".join(section) for section in sections)]) + "\n"


def with_files(text: str, files: Sequence[File]) -> str:
    """The card with the files that were written from the snapshot since; theirs are facts too."""
    if not files:
        return text
    rows = [
        f"| `{file.name}` | {file.rows:,} | {_left_out(file.left_out)} | `{file.sha256}` |"
        for file in files
    ]
    table = ["| file | rows | left out | SHA-256 |", "| --- | ---: | --- | --- |", *rows]
    return "\n".join([text.rstrip("\n"), "", "## Files", "", *table]) + "\n"


def body(text: str) -> str:
    """The card without its front matter, as a page shows it."""
    return text.split("\n---\n", 1)[1].lstrip("\n") if text.startswith("---\n") else text


def licence_in(description: str) -> str:
    """The hub's name of the one licence that the description names; `unknown` where it names none,
    `other` where several."""
    found, rest = set(), f" {description.lower()} "
    for name, pattern in sorted(LICENCES.items(), key=lambda each: -len(each[0])):
        rest, count = re.subn(rf"(?<![\w-]){pattern}(?![\w-]|\.\d)", " ", rest)
        if count:
            found.add(name)
    return next(iter(found)) if len(found) == 1 else "other" if found else "unknown"


def inline(text: str) -> str:
    """A text that somebody typed, on one line and without a meaning in Markdown."""
    return one_line(text).translate(ESCAPES)


def quoted(text: str) -> str:
    """A text of several lines that somebody typed, as a quotation."""
    lines = [AT_LINE_START.sub(r"\1\\\2", inline(line)) for line in text.strip().splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def one_line(text: str) -> str:
    """The text on one line, with signs in place of what would turn its direction, and without what
    neither Markdown nor YAML may hold."""
    spaced = " ".join(text.split())
    written = ("\ufffd" if category(sign) in UNWRITTEN else sign for sign in spaced)
    return plainly("".join(written))


# --- The parts ------------------------------------------------------------------------------------


def _front_matter(card: Card) -> str:
    """JSON's texts are YAML's too."""
    lines = [
        f"pretty_name: {json.dumps(one_line(card.name), ensure_ascii=False)}",
        f"license: {licence_in(card.description)}",
        "task_categories:",
        "- text-generation",
        "size_categories:",
        f"- {size_category(card.trained_on)}",
        "tags:",
        *(f"- {tag}" for tag in ("preference", "reward-model", "rlhf", "dpo", "trl", "curator")),
    ]
    return "\n".join(["---", *lines, "---"])


def size_category(rows: int) -> str:
    """How the hub says that a dataset has so many rows."""
    for (bound, name), following in zip(SIZES, [*SIZES[1:], None], strict=True):
        if rows < bound and name == SIZES[0][1]:
            return f"n<{name}"
        if following and rows < following[0]:
            return f"{name}<n<{following[1]}"
    return f"n>{SIZES[-1][1]}"


def _summary(card: Card) -> Iterator[str]:
    yield f"# {inline(card.name)}, snapshot {card.number}"
    yield ""
    yield (
        f"{card.pairs:,} preference pairs of {card.prompts:,} prompts: a prompt, two responses, "
        f"and which of them is preferred. {card.trained_on:,} have a label to train on. Checked "
        f"and frozen with Curator on {card.frozen_on}{_by(card.frozen_by)}."
    )
    if card.note:
        yield ""
        yield f"Note of the snapshot: “{inline(card.note)}”"


def _counts(card: Card) -> Iterator[str]:
    yield "## What is in it"
    yield ""
    yield "| | pairs | share |"
    yield "| --- | ---: | ---: |"
    yield f"| all | {card.pairs:,} | |"
    yield _row("with a label of the source that prefers one response", card.labelled, card.pairs)
    for verdict, count in sorted(card.verdicts.items()):
        yield _row(VERDICTS.get(verdict, inline(verdict)), count, card.pairs)
    yield _row("that prefer A or B now: the rows of a training file", card.trained_on, card.pairs)
    yield _row("ties", card.preferences.get("tie", 0), card.pairs)
    yield _row("without a label that holds", card.preferences.get("", 0), card.pairs)


def _source(card: Card) -> Iterator[str]:
    yield "## Source and licence"
    yield ""
    if card.description.strip():
        yield "In the words of those who keep the dataset:"
        yield ""
        yield quoted(card.description)
    else:
        yield "Nobody has written down where the pairs come from, or under which licence."
    yield ""
    yield "| where the pairs are from | pairs | share |"
    yield "| --- | ---: | ---: |"
    for origin, count in card.origins:
        yield _row(inline(origin) or "not said", count, card.pairs)
    rest = card.pairs - sum(count for _, count in card.origins)
    if rest:
        yield _row("others", rest, card.pairs)


def _checking(card: Card) -> Iterator[str]:
    yield "## How the labels were checked"
    yield ""
    if card.scored is None:
        yield "No ensemble of reward models has scored this snapshot."
    else:
        yield from _run(card, card.scored)
    yield ""
    decided = card.pairs - card.verdicts.get("", 0)
    by_policies = sum(policy.pairs for policy in card.policies)
    in_bulk = card.by_people_in_bulk
    yield (
        f"{decided:,} pairs are decided: {card.by_people - in_bulk:,} by a person one by one, "
        f"{in_bulk:,} by a person in bulk, {by_policies:,} by a policy. Every decision is kept "
        f"with its author, time, reason and the figures it rests on."
    )
    for policy in card.policies:
        yield f"- {inline(policy.name)}, digest `{policy.digest}`: {policy.pairs:,} pairs"


def _annotators(count: int) -> str:
    return "one annotator" if count == 1 else f"{count:,} annotators"


def _run(card: Card, scored: Scored) -> Iterator[str]:
    yield (
        f"By an ensemble of {scored.members} reward models, {inline(scored.ensemble)} "
        f"({inline(scored.made_of)}), in {inline(scored.words)}. "
        f"{_mode(scored.mode)}{_accuracy(scored.accuracy)}"
    )
    yield ""
    yield "| flag | labels | share |"
    yield "| --- | ---: | ---: |"
    total = sum(count for flag, count in card.flags.items() if flag)
    for flag, name in scored.flag_names.items():
        yield _row(name, card.flags.get(flag, 0), total)


def _mode(mode: str) -> str:
    if mode == "out-of-bag":
        return "No member scored a pair that it was trained on (out-of-bag)."
    return "Members scored pairs that they were trained on (in-sample)."


def _accuracy(share: float | None) -> str:
    return "" if share is None else f" It agrees with {share:.1%} of the labels."


def _agreement(card: Card) -> Iterator[str]:
    yield "## How far people agree"
    yield ""
    if card.written_later:
        yield f"{_as_of(card)}, of all labels that there were then."
        yield ""
    if not card.labels:
        yield "The dataset holds no labels by single annotators."
        return
    for kind, count in sorted(card.labels.items()):
        yield f"- by {kind}: {count:,} labels of {_annotators(card.annotators.get(kind, 0))}"
    yield ""
    if not card.agreement:
        yield "No pair has labels by two people, so how far they agree is not known."
    for found in card.agreement:
        if found.figure is None:
            yield f"{found.title}: not defined. {found.reason}"
        else:
            yield (
                f"{found.title}: {_two(found.figure.estimate)}, 95 % interval "
                f"{_two(found.figure.low)} to {_two(found.figure.high)}, on {found.pairs:,} pairs "
                f"with at least two labels."
            )
        yield ""


def _noise(card: Card) -> Iterator[str]:
    yield "## How many labels are wrong"
    yield ""
    if card.written_later and card.scored:
        yield f"{_as_of(card)}, with the reviews that there were then."
        yield ""
    sentences = card.scored.noise if card.scored else ()
    yield " ".join(sentences) or "Not estimated."


def _checks(card: Card) -> Iterator[str]:
    yield "## What the texts tell"
    yield ""
    if card.written_later:
        yield f"{_as_of(card)}, by the checks that there were then."
        yield ""
    found = [check for check in card.checks if check.pairs]
    if not found:
        yield "The checks of the texts found nothing."
        return
    yield "| check | what it finds | pairs | share |"
    yield "| --- | --- | ---: | ---: |"
    for check in found:
        row = _row(f"{check.title} | {check.explanation}", check.pairs, card.pairs)
        yield row


def _limits(card: Card) -> Iterator[str]:
    yield "## Known limits"
    yield ""
    for sentence in limits(card):
        yield f"- {sentence}"


def limits(card: Card) -> Iterator[str]:
    """What whoever uses the snapshot should know, each a sentence."""
    if card.scored is None:
        yield "No model has looked at the labels: what is wrong in them is not known."
    else:
        yield from _limits_of_run(card, card.scored)
    if card.labelled < FEW_LABELS:
        yield f"It is small: {card.labelled:,} labels prefer one response."
    if card.unequal and card.prefers_longer / card.unequal > LOPSIDED:
        share = card.prefers_longer / card.unequal
        yield (
            f"The preferred response is the longer one in {share:.0%} of the pairs whose lengths "
            f"differ: a model may learn length instead of quality."
        )
    if card.labelled and not 1 - LOPSIDED < card.prefers_a / card.labelled < LOPSIDED:
        share = card.prefers_a / card.labelled
        yield f"The source prefers A in {share:.0%} of the labels: shuffle sides before training."
    yield "Nobody has recorded the languages of the texts; checks of the texts know English best."
    yield "The texts were not searched for personal or harmful content."


def _limits_of_run(card: Card, scored: Scored) -> Iterator[str]:
    if scored.mode != "out-of-bag":
        yield (
            "The scores are in-sample: members vouch for labels that they were trained on, and "
            "flags are by rank."
        )
    if scored.accuracy is not None and scored.accuracy < WEAK:
        yield (
            f"The ensemble agrees with only {scored.accuracy:.0%} of the labels, so its flags and "
            f"margins are weak evidence."
        )
    if card.unreviewed:
        yield f"{card.unreviewed:,} likely flipped labels stand as they came: nobody decided them."
    yield from scored.limits


def _frozen(card: Card) -> Iterator[str]:
    yield "## What is frozen"
    yield ""
    yield (
        f"Pairs, verdicts, labels that hold, strengths and flags are frozen under the SHA-256 "
        f"digest `{card.digest}`: the same content has the same digest, and a file written from "
        f"it in one format always has the same bytes. Agreement, checks and the estimate of wrong "
        f"labels are as they were when this card was written{_when(card)}. The card "
        f"does not change; only files are added to its end."
    )


def _loading(card: Card) -> Iterator[str]:
    yield "## How to load it"
    yield ""
    name = f"{card.slug}-snapshot{card.number}-{card.digest[:12]}.trl-reward.jsonl"
    yield "```python"
    yield "from datasets import load_dataset"
    yield "from trl import RewardConfig, RewardTrainer"
    yield ""
    yield f'train = load_dataset("json", data_files="{name}", split="train")'
    yield "trainer = RewardTrainer("
    yield '    model="Qwen/Qwen3-0.6B", args=RewardConfig(output_dir="reward-model"),'
    yield "    train_dataset=train,"
    yield ")"
    yield "```"
    yield ""
    yield (
        "Rows hold `prompt`, `chosen`, `rejected` as chat messages and a numeric `margin`; for "
        'plain Bradley–Terry training, `train.remove_columns("margin")`. The file of the format '
        "`trl-dpo` is the same for `DPOTrainer`."
    )


def _citing(card: Card) -> Iterator[str]:
    yield "## How to cite"
    yield ""
    title = re.sub(r"[{}\\`%#$&_~^@]", "", one_line(card.name))
    yield "```bibtex"
    yield f"@misc{{{card.slug}-snapshot{card.number},"
    yield f"  title  = {{{title}, snapshot {card.number}}},"
    yield f"  year   = {{{card.frozen_on[:4]}}},"
    yield f"  note   = {{Preference pairs checked with Curator. SHA-256 {card.digest}}}"
    yield "}"
    yield PAPER
    yield "```"


def _when(card: Card) -> str:
    return f", on {card.written_later}" if card.written_later else ""


def _as_of(card: Card) -> str:
    return f"As of {card.written_later}, when this card was written, later than the snapshot"


# --- Words ----------------------------------------------------------------------------------------


def _row(name: str, count: int, whole: int) -> str:
    share = f"{count / whole:.1%}" if whole else ""
    return f"| {name} | {count:,} | {share} |"


def _left_out(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"


def _by(name: str) -> str:
    return f" by {inline(name)}" if name else ""


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "\u2212")
