"""What a policy, or one verdict on all pairs of a filter, would do: counts, mean strengths and
random examples, asked of the standings in SQL.

`annotations.policies.propose` is the reference of what a policy proposes. On top of that each pair
has a *fate*: the verdict that it would be given (or `queue`), or the reason why it is left as it
is. A policy never overrides a person; one verdict in bulk does where the curator says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from django.db.models import (
    BooleanField,
    Case,
    CharField,
    Count,
    Exists,
    F,
    FloatField,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast

from annotations import policies
from annotations.asking import where
from annotations.conditions import AnyOf, Clause, flat
from annotations.decisions import resulting_preference
from annotations.models import Dataset, Decision, PairStanding, Verdict
from annotations.models.words import TRAINED_ON
from annotations.policies import NO_RULE, Does, Policy, Rule
from curator.lib.refusals import Conflict, Refusal

LEFT, SENSELESS, PEOPLE, DECIDED, SAME = "left", "senseless", "people", "decided", "same"
QUEUE = str(Does.QUEUE)
UNDECIDED = "undecided"  # in counts, where a verdict is taken back and none takes its place
VERDICTS = tuple(str(verdict) for verdict in Verdict.values if verdict)
ACTS = (*VERDICTS, QUEUE)  # fates that change something
COUNTED = {*ACTS, "all"}  # in what a preview counts; all: what a restore changes
REASONS: Mapping[str, str] = {
    PEOPLE: "decided by people, who are not overruled",
    SENSELESS: "without a label that this could be done to",
    DECIDED: "decided by a policy already, so not put forward",
    SAME: "stand so already",
    "since": "decided again since",
    "now": "stand so already",
    "later": "came after the snapshot",
}
OF_DECISIONS = ("status", "decided_by", "decided")
COMPARED = ("counts", "people", "unchanged")
ANY = ("a", "b", "tie", "")
SENSIBLE: Mapping[str, Sequence[str]] = {  # the source labels that it can be done to
    Verdict.FLIP: ("a", "b"),
    Verdict.SOFTEN: ("a", "b"),
    Verdict.KEEP: ("a", "b", "tie"),
    Verdict.PREFER_A: ("tie", ""),
    Verdict.PREFER_B: ("tie", ""),
}
EVERY = Q(pk__isnull=False)
EXAMPLES = 20
SAMPLE = 10
PRIME = 2**31 - 1

Standings = QuerySet[Any, Any]  # of PairStanding, with what is proposed


class CannotPropose(Refusal):
    """The verdict cannot be given in bulk."""


@dataclass(frozen=True)
class Bulk:
    """One verdict on all pairs that meet the clauses."""

    clauses: tuple[Clause, ...]
    verdict: str
    probability: float | None = None  # of the source's label, when softened
    overrules_people: bool = False
    seen: int | None = None  # the last decision when the curator looked; later ones stay


# What is proposed


def of_policy(dataset: Dataset, policy: Policy) -> Standings:
    """The dataset's standings with `rule` (which one is met first, NO_RULE where none), `fate` and
    `probability` (of the source's label, where the fate is soften)."""
    rows: Any = dataset.standings.order_by().annotate(
        rule=_rule(policy), proposed=_proposed(policy), probability=_probability(policy)
    )
    proposed: Standings = rows.annotate(fate=_fate(policies.digest(policy)))
    return proposed


def of_bulk(dataset: Dataset, bulk: Bulk) -> Standings:
    """The standings of the pairs of the filter, with `rule`, `fate` and `probability`."""
    rows: Standings = (
        dataset.standings.order_by()
        .filter(where(bulk.clauses))
        .annotate(
            rule=Value(0, output_field=IntegerField()),
            probability=Cast(Value(bulk.probability), FloatField()),
            fate=_fate_in_bulk(bulk),
        )
    )
    return rows


def check_bulk(verdict: str, probability: float | None) -> None:
    """Raises CannotPropose for what is no verdict on many pairs."""
    if verdict not in VERDICTS:
        known = f"{', '.join(VERDICTS[:-1])} or {VERDICTS[-1]}"
        raise CannotPropose(f"“{verdict}” is no verdict: choose {known}.")
    if (verdict == Verdict.SOFTEN) != (probability is not None):
        raise CannotPropose("Softening, and only softening, needs the probability of the label.")
    if probability is not None and not 0 <= probability <= 1:
        raise CannotPropose("The probability of the label lies from 0 to 1.")


def check_scores_are_whole(dataset: Dataset) -> None:
    """Raises Conflict while some of the dataset's pairs have new scores and others the old; ask it
    of a dataset that you have locked."""
    if dataset.scores_being_written_by:
        raise Conflict(
            f"The pairs of {dataset.name} are being given new scores just now "
            f"({dataset.scores_being_written_by}): wait until they all have them, and look again. "
            f"If that has failed, its page says how to go on."
        )


def check_expected(expected: Mapping[str, Any]) -> dict[str, Any]:
    """What a preview gave, as it comes back from a browser or a program. Raises CannotPropose."""
    last = expected.get("last_decision", 0)
    counts = [expected.get(name, {}) for name in COMPARED]
    numbers = [last, *(n for each in counts if isinstance(each, dict) for n in each.values())]
    is_whole = all(type(number) is int and 0 <= number < 2**62 for number in numbers)
    if not is_whole or not all(isinstance(each, dict) and {*each} <= COUNTED for each in counts):
        raise CannotPropose("What was expected cannot be read: take it from a preview as it is.")
    known = (*COMPARED, "last_decision")
    return {name: expected[name] for name in known if name in expected}


def acting(rows: Standings) -> Standings:
    """Those of the proposals that change something."""
    return rows.filter(fate__in=ACTS)


def _rule(policy: Policy) -> Case:
    numbers = [Value(number) for number in range(len(policy.rules))]
    return _first_met(policy, numbers, Value(NO_RULE), IntegerField())


def _proposed(policy: Policy) -> Case:
    """What the first rule met does, where that makes sense."""
    does = [_does(rule) for rule in policy.rules]
    return _first_met(policy, does, Value(LEFT), CharField())


def _probability(policy: Policy) -> Cast:
    softened = [rule.then.does is Does.SOFTEN for rule in policy.rules]
    if not any(softened):
        return Cast(Value(None), FloatField())
    numbers = [
        F("label_probability") if rule.then.is_calibrated else Value(rule.then.probability)
        for rule in policy.rules
    ]
    return Cast(_first_met(policy, numbers, Value(None), FloatField()), FloatField())


def _first_met(policy: Policy, thens: Sequence[Any], otherwise: Any, of: Any) -> Case:
    rules = zip(policy.rules, thens, strict=True)
    whens = [When(where(rule.when) if rule.when else EVERY, then=then) for rule, then in rules]
    return Case(*whens, default=otherwise, output_field=of)


def _does(rule: Rule) -> Any:
    if rule.then.does is Does.LEAVE:
        return Value(LEFT)
    does = Value(str(rule.then.does))
    sensible = _sensible(str(rule.then.does))
    if rule.then.is_calibrated:
        sensible &= Q(label_probability__isnull=False)
    return Case(When(sensible, then=does), default=Value(SENSELESS), output_field=CharField())


def _sensible(verdict: str) -> Q:
    """Where there is a label to do it to, or, to prefer a response, none that prefers one."""
    return Q(source_preference__in=SENSIBLE[verdict]) if verdict in SENSIBLE else EVERY


def _fate(digest: str) -> Case:
    """Of what a policy proposes. What the row says itself is asked before the rules are gone
    through again: the database does that each time that `proposed` is named."""
    is_queue = Q(proposed=QUEUE)
    return Case(
        When(proposed__in=[LEFT, SENSELESS], then=F("proposed")),
        When(decided_by=PairStanding.DecidedBy.PERSON, then=Value(PEOPLE)),
        When(Q(verdict__gt="") & is_queue, then=Value(DECIDED)),
        When(Q(put_forward_by__isnull=False) & is_queue, then=Value(SAME)),
        When(Q(decided_by=PairStanding.DecidedBy.POLICY) & Exists(_held(digest)), then=Value(SAME)),
        default=F("proposed"),
        output_field=CharField(),
    )


def _held(digest: str) -> QuerySet[Decision, Decision]:
    """The decision that the pair stands by, where the same rules have said the same."""
    held = Decision.objects.filter(
        evidence__policy=digest, verdict=OuterRef("proposed"), pk=OuterRef("decision")
    )
    is_as_probable = ~Q(verdict=Verdict.SOFTEN) | Q(label_probability=OuterRef("probability"))
    return held.filter(is_as_probable)


def _fate_in_bulk(bulk: Bulk) -> Case:
    by_person = Q(decided_by=PairStanding.DecidedBy.PERSON)
    spared: Any = by_person
    if bulk.overrules_people:
        spared = Q(pk__in=[])
        if bulk.seen is not None:
            spared = by_person & Q(decision__gt=bulk.seen)
    is_same: Any = by_person & Q(verdict=bulk.verdict)
    if bulk.verdict == Verdict.SOFTEN:
        held = Decision.objects.filter(
            pk=OuterRef("decision"), label_probability=OuterRef("probability")
        )
        is_same &= Exists(held)
    return Case(
        When(~_sensible(bulk.verdict), then=Value(SENSELESS)),
        When(spared, then=Value(PEOPLE)),
        When(is_same, then=Value(SAME)),
        default=Value(bulk.verdict),
        output_field=CharField(),
    )


# What would change


@dataclass
class Effect:
    """How many pairs change which way, and how many do not, by reason."""

    pairs: int = 0  # that were gone through
    counts: Counter[str] = field(default_factory=Counter)  # by verdict, and queue
    passed_over: Counter[str] = field(default_factory=Counter)  # by reason
    people: Counter[str] = field(default_factory=Counter)  # passed over for people, by proposal
    unchanged: Counter[str] = field(default_factory=Counter)  # stand so already, by proposal
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)  # verdict before and after
    left: int = 0  # that meet no rule, or one that leaves them

    @property
    def decided(self) -> int:
        """Pairs that would be given a verdict."""
        return self.counts.total() - self.counts[QUEUE]

    @property
    def queued(self) -> int:
        return self.counts[QUEUE]

    @property
    def is_nothing(self) -> bool:
        return not self.counts.total()

    @property
    def matched(self) -> int:
        """Pairs that this is proposed for, whether or not they change."""
        return self.counts.total() + self.people.total() + self.unchanged.total()

    def as_expected(self) -> dict[str, dict[str, int]]:
        """What to compare with when it is done."""
        return {name: dict(getattr(self, name)) for name in COMPARED}

    @classmethod
    def from_expected(cls, expected: Mapping[str, Any]) -> "Effect":
        counters: Any = {name: Counter(expected.get(name, {})) for name in COMPARED}
        return cls(**counters)

    def is_but_for_people(self, shown: "Effect", decided: int = 0) -> bool:
        """Whether this differs from what was shown only in that people have decided some of the
        pairs since: which are now passed over for it, or, up to so many, out of the filter."""
        acts = {act for name in COMPARED for act in (*getattr(self, name), *getattr(shown, name))}
        return 0 <= shown.matched - self.matched <= decided and all(
            self.people[act] >= shown.people[act]
            and self.counts[act] <= shown.counts[act]
            and self.unchanged[act] <= shown.unchanged[act]
            for act in acts
        )

    def add(self, fate: str, act: str, verdict: str, count: int) -> None:
        """So many pairs that stand at the verdict have the fate where the act is proposed."""
        self.pairs += count
        if fate == LEFT:
            self.left += count
            return
        if fate in ACTS:
            self.counts[fate] += count
            if fate != QUEUE:
                self.changes[verdict, fate] += count
            return
        self.passed_over[fate] += count
        if fate == PEOPLE:
            self.people[act] += count
        elif fate != SENSELESS:
            self.unchanged[act] += count


@dataclass(frozen=True)
class Trained:
    """What a file for training would hold."""

    pairs: int
    strength: float | None  # mean over scored pairs, towards the label that holds


@dataclass(frozen=True)
class Preview:
    """What a policy or a bulk decision would do now. `expected` goes with the order to do it: where
    something else would happen by then, it is refused."""

    effect: Effect
    rules: Sequence[Effect]  # of each rule; of a bulk decision only one
    before: Trained
    after: Trained
    warnings: Sequence[str] = ()
    last_decision: int = 0

    @property
    def expected(self) -> dict[str, Any]:
        return {**self.effect.as_expected(), "last_decision": self.last_decision}

    @property
    def size_change(self) -> int:
        return self.after.pairs - self.before.pairs

    def as_dict(self) -> dict[str, Any]:
        """In plain JSON values, for programs."""
        effect = self.effect
        return {
            "pairs": effect.pairs,
            "counts": dict(effect.counts),
            "passed_over": dict(effect.passed_over),
            "left": effect.left,
            "rules": [
                {"counts": dict(each.counts), "passed_over": dict(each.passed_over)}
                for each in self.rules
            ],
            "trained_on": {"before": self.before.pairs, "after": self.after.pairs},
            "mean_strength": {"before": self.before.strength, "after": self.after.strength},
            "warnings": list(self.warnings),
            "expected": self.expected,
        }


def preview(dataset: Dataset, policy: Policy) -> Preview:
    """What the policy would do to the dataset now. One scan of its standings."""
    found, last = policies.warnings(policy), last_decision()
    effects, before, after = _effects(_groups_of_policy(dataset, policy), _acts(policy))
    if effects[-1].is_nothing:
        found = [*found, "It would change nothing now."]
    return _preview(effects, before, after, found, last)


def preview_bulk(dataset: Dataset, bulk: Bulk) -> Preview:
    """What the verdict on all pairs of the filter would do now. Mean strengths and sizes are those
    of the filter's pairs. Raises CannotPropose."""
    check_bulk(bulk.verdict, bulk.probability)
    last = last_decision()
    effects, before, after = _effects(_groups(of_bulk(dataset, bulk)), [bulk.verdict])
    return _preview(effects, before, after, [], last)


def effect_of_policy(dataset: Dataset, policy: Policy) -> Effect:
    """How many pairs change which way."""
    return _effects(_groups_of_policy(dataset, policy), _acts(policy))[0][-1]


def effect_of_bulk(dataset: Dataset, bulk: Bulk) -> Effect:
    """How many pairs change which way."""
    return _effects(_groups(of_bulk(dataset, bulk)), [bulk.verdict])[0][-1]


def _acts(policy: Policy) -> list[str]:
    return [str(rule.then.does) for rule in policy.rules]


@dataclass(frozen=True)
class _Group:
    """Pairs that are alike in all that decides what becomes of them."""

    rule: int
    fate: str
    source: str
    verdict: str
    count: int
    strength: float  # summed
    scored: int


def _groups(rows: Standings) -> list[_Group]:
    """Of rows with `rule` and `fate`."""
    counted: Any = rows.values_list("rule", "fate", "source_preference", "verdict").annotate(
        Count("pk"), Sum("strength"), Count("strength")
    )
    return [
        _Group(rule, fate, source, verdict, count, strength or 0.0, scored)
        for rule, fate, source, verdict, count, strength, scored in counted
    ]


def _groups_of_policy(dataset: Dataset, policy: Policy) -> list[_Group]:
    """The same as from `of_policy`, but that the rules are gone through once for each pair: the
    fate follows here from the rule and from columns of which there are few values."""
    rows: Any = dataset.standings.order_by().annotate(rule=_rule(policy))
    by_policy = Q(decided_by=PairStanding.DecidedBy.POLICY)
    rows = rows.annotate(proposed=_proposed(policy), probability=_probability(policy)).annotate(
        can_be_calibrated=_is(Q(label_probability__isnull=False)),
        is_put_forward=_is(Q(put_forward_by__isnull=False)),
        is_same=_is(by_policy & Exists(_held(policies.digest(policy)))),
    )
    columns = ("source_preference", "can_be_calibrated", "verdict", "decided_by")
    counted = rows.values_list("rule", *columns, "is_put_forward", "is_same").annotate(
        Count("pk"), Sum("strength"), Count("strength")
    )
    return [
        _Group(
            rule,
            _fate_of(policy, rule, source, calibrated, verdict, by, is_put_forward, is_same),
            *(source, verdict, count, strength or 0.0, scored),
        )
        for rule, source, calibrated, verdict, by, is_put_forward, is_same, *figures in counted
        for count, strength, scored in [figures]
    ]


def _is(condition: Any) -> Case:
    return Case(
        When(condition, then=Value(True)), default=Value(False), output_field=BooleanField()
    )


def _fate_of(
    policy: Policy,
    number: int,
    source: str,
    can_be_calibrated: bool,
    verdict: str,
    decided_by: str,
    is_put_forward: bool,
    is_same: bool,
) -> str:
    """As `_fate` says it in SQL."""
    if number == NO_RULE or policy.rules[number].then.does is Does.LEAVE:
        return LEFT
    action = policy.rules[number].then
    act = str(action.does)
    if source not in SENSIBLE.get(act, ANY) or (action.is_calibrated and not can_be_calibrated):
        return SENSELESS
    if decided_by == PairStanding.DecidedBy.PERSON:
        return PEOPLE
    if act == QUEUE:
        return DECIDED if verdict else SAME if is_put_forward else QUEUE
    return SAME if is_same else act


def _preview(
    effects: list[Effect], before: Trained, after: Trained, warnings: Sequence[str], last: int
) -> Preview:
    *rules, whole = effects
    return Preview(whole, rules, before, after, warnings, last)


def last_decision() -> int:
    """The id of the last decision of all; ask before you look what would change."""
    return Decision.objects.aggregate(last=Max("pk"))["last"] or 0


def _effects(
    groups: Iterable[_Group], acts: Sequence[str]
) -> tuple[list[Effect], Trained, Trained]:
    """The effect of each rule, and of the whole as the last."""
    effects = [Effect() for _ in range(len(acts) + 1)]
    before, after = _Trained(), _Trained()
    for group in groups:
        act = acts[group.rule] if group.rule >= 0 else ""
        for effect in {group.rule, len(acts)} - {NO_RULE}:
            effects[effect].add(group.fate, act, group.verdict, group.count)
        before.add(group, group.verdict)
        after.add(group, group.fate if group.fate in VERDICTS else group.verdict)
    return effects, before.found(), after.found()


@dataclass
class _Trained:
    """Counts pairs whose label can be trained on."""

    pairs: int = 0
    strength: float = 0.0
    scored: int = 0

    def add(self, group: _Group, verdict: str) -> None:
        preference = resulting_preference(group.source, verdict)
        if preference not in TRAINED_ON:
            return
        towards_a = -group.strength if group.source == "b" else group.strength
        self.pairs += group.count
        self.scored += group.scored
        self.strength += towards_a if preference == "a" else -towards_a

    def found(self) -> Trained:
        return Trained(self.pairs, self.strength / self.scored if self.scored else None)


def decided_meanwhile(dataset: Dataset, bulk: Bulk) -> int:
    """How many pairs people have decided since the curator looked that may have been in a filter
    which asks for decisions: in it then, and now no longer."""
    if bulk.seen is None or not any(each.field in OF_DECISIONS for each in flat(bulk.clauses)):
        return 0
    others = [clause for clause in bulk.clauses if not _asks_for_decisions(clause)]
    decided = dataset.standings.filter(where(others)) if others else dataset.standings.all()
    by_person = Q(decided_by=PairStanding.DecidedBy.PERSON)
    return decided.filter(by_person, decision__gt=bulk.seen, decision__batch=None).count()


def _asks_for_decisions(clause: Clause) -> bool:
    conditions = clause.conditions if isinstance(clause, AnyOf) else [clause]
    return any(each.field in OF_DECISIONS for each in conditions)


# Examples


@dataclass(frozen=True)
class Example:
    """A pair to which it would be done, and by which rule."""

    pair_id: int
    rule: int
    act: str
    probability: float | None


def examples(
    dataset: Dataset, policy: Policy, *, per_action: int = EXAMPLES, seed: int = 0
) -> dict[str, list[Example]]:
    """Random pairs of each action, in a random order that the seed decides."""
    rows = of_policy(dataset, policy)
    found = effect_of_policy(dataset, policy).counts
    return {
        act: _sample(rows.filter(fate=act), found[act], per_action, seed)
        for act in dict.fromkeys(_acts(policy))
        if found[act]
    }


def sample_bulk(
    dataset: Dataset, bulk: Bulk, *, count: int = SAMPLE, seed: int = 0
) -> list[Example]:
    """Random pairs of those that the bulk decision would change."""
    found = effect_of_bulk(dataset, bulk).counts[bulk.verdict]
    return _sample(of_bulk(dataset, bulk).filter(fate=bulk.verdict), found, count, seed)


def _sample(rows: Standings, found: int, count: int, seed: int) -> list[Example]:
    """So many of them by the least of a scramble of their ids. Most are set aside by a bound on it
    before the rules are gone through, so that they need not be sorted."""
    bound = PRIME if found <= 4 * count else int(PRIME * min(1.0, 8 * count / found))
    scrambled = rows.annotate(place=_scrambled(seed))
    columns = ("pk", "rule", "fate", "probability")
    for most in (bound, PRIME):
        chosen = scrambled.filter(place__lt=most) if most < PRIME else scrambled
        drawn = list(chosen.order_by("place", "pk").values_list(*columns)[:count])
        if len(drawn) == min(count, found) or most == PRIME:
            break
    return [Example(*row) for row in drawn]


def _scrambled(seed: int) -> Combinable:
    """A number below PRIME for each pair's id, as good as random: a line modulo a prime, squared,
    so that ids at even distances do not lie at even distances."""
    random = Random(seed)  # noqa: S311 - to choose examples, not to keep a secret
    factor, start = random.randrange(1, PRIME), random.randrange(PRIME)
    # the operator: Django's function of that name reckons in decimals on PostgreSQL
    line = (F("pk") % PRIME * factor + start) % PRIME
    return line * line % PRIME
