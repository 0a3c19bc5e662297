"""What would happen to pairs, for people to look at before it does: examples with their texts, and
effects as they are listed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.db.models import Case, CharField, Count, F, Value, When

from annotations.asking import where
from annotations.conditions import Clause
from annotations.decisions import resulting_preference
from annotations.fields import FLAGS, NONE, VERDICTS
from annotations.models import Dataset, PairStanding, PreferencePair, Verdict
from annotations.policies import SHOWN, Does, Policy, rule_in_words
from annotations.proposals import QUEUE, REASONS, Effect, Example, Preview

MOST_ORIGINS = 30
BEGINNING = 1000  # characters of a response, before they stand on one line
PREFERRED = {"a": "A", "b": "B", "tie": "tie", "": "no label"}


@dataclass(frozen=True)
class Illustration:
    """A pair to which something would be done."""

    standing: PairStanding
    act: str
    probability: float | None

    @property
    def pair(self) -> PreferencePair:
        return self.standing.pair

    @property
    def label(self) -> str:
        """Which response holds to be the better one now."""
        if self.standing.verdict == Verdict.DROP:
            return "dropped"
        held = resulting_preference(self.standing.source_preference, self.standing.verdict)
        return PREFERRED[held]

    @property
    def becomes(self) -> str:
        """What would hold of the label."""
        source = self.standing.source_preference
        if self.act == QUEUE:
            return "undecided, put forward"
        if self.act == Verdict.DROP:
            return "dropped"
        if self.act == Verdict.SOFTEN:
            return f"{PREFERRED[source]} with {100 * (self.probability or 0):.0f}\u202f%"
        return PREFERRED[resulting_preference(source, self.act)]


@dataclass(frozen=True)
class Beginning:
    """How one response begins, and whether the source labels it the better one."""

    name: str
    text: str  # on one line
    is_preferred: bool


def beginnings(pair: PreferencePair) -> list[Beginning]:
    """Of A and of B, so that one can judge the pair where it is one of many."""
    sides = (("A", "a", pair.response_a), ("B", "b", pair.response_b))
    return [
        Beginning(
            name,
            " ".join(response[0]["content"][:BEGINNING].split()),
            pair.source_preference == side,
        )
        for name, side, response in sides
    ]


@dataclass(frozen=True)
class Line:
    """How many pairs something happens to, or not, and why."""

    words: str
    count: int
    share: float = 0.0  # of all pairs that were gone through
    name: str = ""


@dataclass(frozen=True)
class RuleEffect:
    """What one rule does."""

    number: int
    words: str
    acts: Sequence[Line]
    passed_over: Sequence[Line]
    left: int  # pairs that the rule exempts from those after it


def illustrated(found: Iterable[Example]) -> list[Illustration]:
    """The examples with their pairs, in their order."""
    examples = list(found)
    ids = [each.pair_id for each in examples]
    rows = PairStanding.objects.filter(pk__in=ids).select_related("pair").defer("pair__meta")
    standings = rows.in_bulk()
    return [
        Illustration(standings[each.pair_id], each.act, each.probability)
        for each in examples
        if each.pair_id in standings
    ]


def by_act(found: Mapping[str, Sequence[Example]]) -> list[tuple[str, list[Illustration]]]:
    """The examples of each action, under its words."""
    shown = {each.standing.pk: each for each in illustrated(chain(*found.values()))}
    return [
        (SHOWN[Does(act)], [shown[each.pair_id] for each in some if each.pair_id in shown])
        for act, some in found.items()
    ]


def acts_of(effect: Effect, whole: int) -> list[Line]:
    """What happens, the most frequent first."""
    return [
        Line(SHOWN[Does(act)] if act in set(Does) else f"prefer {act.upper()}", n, n / whole, act)
        for act, n in effect.counts.most_common()
        if n
    ]


def passed_over_of(effect: Effect) -> list[Line]:
    """Why pairs stay as they are, the most frequent reason first."""
    return [Line(REASONS[name], n) for name, n in effect.passed_over.most_common() if n]


def changes_of(effect: Effect) -> list[tuple[str, str, int]]:
    """Which verdicts turn into which."""
    return [
        (VERDICTS.get(before or "undecided", before), after, count)
        for (before, after), count in effect.changes.most_common()
    ]


def rules_of(policy: Policy, preview: Preview) -> list[RuleEffect]:
    """What each rule does."""
    whole = max(preview.effect.pairs, 1)
    rules = enumerate(zip(policy.rules, preview.rules, strict=True), 1)
    return [
        RuleEffect(
            number,
            rule_in_words(rule),
            acts_of(effect, whole),
            passed_over_of(effect),
            effect.left,
        )
        for number, (rule, effect) in rules
    ]


@dataclass(frozen=True)
class AsTheyStand:
    """What the pairs of a filter are now."""

    pairs: int
    verdicts: Sequence[Line]
    flags: Sequence[Line]
    by_people: int


def as_they_stand(dataset: Dataset, clauses: Iterable[Clause]) -> AsTheyStand:
    """How the pairs of the filter are decided and flagged now. One scan of the standings."""
    unscored = When(run_id__isnull=True, then=Value("unscored"))
    flagged = Case(unscored, default=F("flag"), output_field=CharField())
    rows: Any = dataset.standings.filter(where(clauses)).order_by().annotate(flagged=flagged)
    groups = rows.values_list("verdict", "decided_by", "flagged").annotate(Count("pk"))
    verdicts, flags, people = Counter[str](), Counter[str](), 0
    for verdict, decided_by, flag, count in groups:
        verdicts[VERDICTS.get(verdict or "undecided", verdict)] += count
        flags[FLAGS[flag or NONE]] += count
        people += count if decided_by == PairStanding.DecidedBy.PERSON else 0
    return AsTheyStand(verdicts.total(), _lines(verdicts), _lines(flags), people)


def origins(dataset: Dataset) -> dict[str, str]:
    """The most frequent origins of the dataset's pairs, by the names that a condition gives
    them."""
    rows = dataset.standings.order_by().values_list("origin").annotate(pairs=Count("pk"))
    names = [origin for origin, _ in rows.order_by("-pairs", "origin")[:MOST_ORIGINS]]
    return {name or NONE: name or "unknown" for name in names}


def _lines(counted: Counter[str]) -> list[Line]:
    return [Line(name, count) for name, count in counted.most_common()]
