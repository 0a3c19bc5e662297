"""Which members and which pairs one shard takes: members that are cheapest together, and about half
a minute's worth of tokens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import QuerySet

from annotations.models import PreferencePair
from scoring.models import Ensemble, Mode, RewardModel, ScoringRun

CHARACTERS_PER_TOKEN = 4
SECONDS_PER_SHARD = 30.0
FEWEST_TOKENS = 16_384
MOST_TOKENS = 4_000_000
FEWEST_SHARDS = 16  # of a large dataset, so that several workers have something to do
MOST_PAIRS = 256  # embedded by one task
MOST_SCORED_PAIRS = 2048  # bounds what a worker holds of texts and tokens
FEWEST_MARGINS = 2  # of a pair, before anything can be said of how far its members differ
COMMON_SHARE = 0.5  # of the layers, from which on members are cheaper together than apart


@dataclass(frozen=True)
class Sized:
    """A pair's id, its prompt group, and about how many tokens it takes."""

    pk: int
    group: str
    tokens: int


@dataclass(frozen=True)
class Together:
    """Members that one task asks at once."""

    positions: tuple[int, ...]
    is_heads: bool
    tokens_per_second: float


Waves = list[list[Together]]


def sized(pairs: QuerySet[PreferencePair]) -> Iterator[Sized]:
    """The pairs by prompt group, so that what a prompt's texts share is read once."""
    rows: Any = pairs.order_by("group", "pk").values_list("pk", "group", "standing__characters")
    for pk, group, characters in rows.iterator():
        yield Sized(pk, group, characters // CHARACTERS_PER_TOKEN + 1)


def members_together(ensemble: Ensemble) -> list[Together]:
    """The ensemble's members in groups, the cheapest first: all heads, then checkpoints with most
    of their layers in common, then single ones."""
    members = list(ensemble.members.select_related("checkpoint"))
    heads = tuple(member.position for member in members if member.checkpoint is None)
    groups = [Together(heads, True, float("inf"))] if heads else []
    families: dict[Any, list[RewardModel]] = {}
    for member in members:
        if member.checkpoint is not None:
            families.setdefault(_family(member), []).append(member)
    rates = {member.pk: _rate(member) for member in members if member.checkpoint is not None}
    # members fine-tuned together run alike: by turns of chance their couples would part
    alike = [pk for member in members if member.bag and (pk := member.pk) in rates]
    rates |= dict.fromkeys(alike, min((rates[pk] for pk in alike), default=0.0))
    for family in families.values():
        rate = min(rates[member.pk] for member in family) / len(family)
        groups.append(Together(tuple(member.position for member in family), False, rate))
    return sorted(groups, key=lambda group: (-group.tokens_per_second, group.positions))


def waves_of(run: ScoringRun) -> Waves:
    """Whom the run asks first, and whom it then asks of pairs still open, wave by wave; all at once
    where it is not adaptive. The first wave gives each pair two margins, of both kinds where there
    are two: it must be a fair sample of all members."""
    together = members_together(run.ensemble)
    if not run.is_adaptive:
        return [together]
    units = _kinds_first(_units(together))
    halved = _halved(run)
    given = 0.0
    for number, unit in enumerate(units, 1):
        given += sum(0.5 if position in halved else 1.0 for position in unit.positions)
        if given >= FEWEST_MARGINS:
            return [units[:number], *([unit] for unit in units[number:])]
    return [units]


def positions_of(waves: Waves) -> list[list[int]]:
    """The members' positions, wave by wave."""
    return [[position for group in wave for position in group.positions] for wave in waves]


def _units(together: Sequence[Together]) -> list[Together]:
    """Groups as waves ask them: heads by couples, whose bags are complementary."""
    units = []
    for group in together:
        size = 2 if group.is_heads else len(group.positions)
        units += [
            replace(group, positions=group.positions[start : start + size])
            for start in range(0, len(group.positions), size)
        ]
    return units


def _kinds_first(units: Sequence[Together]) -> list[Together]:
    """One unit of each kind, then the others in their order."""
    firsts = {unit.is_heads: unit for unit in reversed(units)}
    leading = [unit for unit in units if firsts[unit.is_heads] is unit]
    return [*leading, *(unit for unit in units if unit not in leading)]


def _halved(run: ScoringRun) -> set[int]:
    """The positions of members that are asked of half of the pairs only: those with a bag."""
    if run.mode != Mode.OUT_OF_BAG:
        return set()
    return {member.position for member in run.ensemble.members.all() if member.bag}


def _family(member: RewardModel) -> Any:
    """What members have in common that are run over one trunk."""
    assert member.checkpoint is not None
    found = member.checkpoint.identity
    chain = found["layer_digests"]
    if not chain:
        return member.pk
    trunk = chain[max(round(len(chain) * COMMON_SHARE) - 1, 0)]
    reading = ("tokenizer_digest", "template_digest", "dtype", "max_length", "score_at")
    return (trunk, len(chain), *(found[name] for name in reading))


def _rate(member: RewardModel) -> float:
    assert member.checkpoint is not None
    return float(member.checkpoint.self_test["tokens_per_second"])


def slices(pairs: Iterable[Sized], together: Together, *, total: int) -> Iterator[list[int]]:
    """The ids of each shard's pairs; `total` is the tokens of all. Pairs of one prompt stay
    together unless they are too many."""
    most_pairs = MOST_PAIRS if together.is_heads else MOST_SCORED_PAIRS
    tokens = most_tokens(together, total)
    part: list[int] = []
    held, last = 0, ""
    for pair in pairs:
        full = len(part) >= most_pairs or held >= tokens
        if part and (len(part) >= 2 * most_pairs or (full and pair.group != last)):
            yield part
            part, held = [], 0
        part.append(pair.pk)
        held += pair.tokens
        last = pair.group
    if part:
        yield part


def most_tokens(together: Together, total: int) -> int:
    """How many tokens a shard is given: half a minute's worth at the members' measured rate, and
    less where a dataset would otherwise make few shards."""
    wanted = min(together.tokens_per_second * SECONDS_PER_SHARD, MOST_TOKENS)
    return int(max(min(wanted, total / FEWEST_SHARDS), FEWEST_TOKENS))
