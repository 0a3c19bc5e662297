"""Review: one pair at a time from a queue, decide by key, undo, go on."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import push_url

from annotations import access, compare, decisions, holds, queue, sittings
from annotations.checks import SHOWN, Check
from annotations.models import Annotator, Dataset, Decision, Label, PreferencePair, Verdict
from annotations.queue import Queue
from annotations.views import beside
from annotations.views.trails import Trail
from curator.lib.refusals import Conflict, Refusal
from curator.models import User
from curator.requests import SignedInRequest, wants_fragment
from scoring import queues
from scoring.evidence import Evidence, evidence_for
from scoring.forms import FIRST, SECOND, ReviewForm
from scoring.models import Flag, ScoringRun

SWITCHES = "review-switches"  # in the session
OFFERED_REASONS = (
    "more helpful",
    "less harmful",
    "more correct",
    "equally good",
    "both bad",
    "prompt broken",
    "guidelines leave it open",
)


@dataclass(frozen=True)
class Side:
    """One response, and who prefers it. Where the evidence is hidden it is the first or the second,
    and nobody prefers it."""

    name: str
    value: str
    messages: list[dict[str, str]]
    diff: list[compare.Segment] | None
    labels: list[Label] = field(default_factory=list)
    evidence: Evidence | None = None

    @property
    def preferred_by(self) -> list[str]:
        """Who prefers this response: “5 of 5 models”, “2 people”, “1 AI judge”."""
        models = self.evidence.preferring(self.value) if self.evidence else 0
        asked = [f"{models} of {self.evidence.asked} models"] if self.evidence and models else []
        kinds = Counter(
            label.annotator.kind for label in self.labels if label.preference == self.value
        )
        kinds.pop(Annotator.Kind.SOURCE, None)  # its word is the label itself
        return asked + [_counted(kinds[kind], kind) for kind in Annotator.Kind if kind in kinds]


@dataclass(frozen=True)
class Revealed:
    """A pair that was decided without its evidence, which is shown now."""

    decision: Decision
    evidence: Evidence | None

    @property
    def pair(self) -> PreferencePair:
        return self.decision.pair


class Sitting:
    """A curator before one queue of a dataset: what it shows, what they have hidden, and the
    addresses that keep to it."""

    def __init__(self, request: SignedInRequest, dataset: Dataset) -> None:
        self.request, self.dataset = request, dataset
        self.queue: Queue = queues.asked(dataset, request.GET)
        self.trail = Trail(request, f"review-trail-{dataset.pk}")

    @property
    def user(self) -> User:
        return self.request.user

    @cached_property
    def run(self) -> ScoringRun | None:
        return ScoringRun.objects.current(self.dataset)

    @property
    def _switches(self) -> Mapping[str, bool]:
        switches: Mapping[str, bool] = self.request.session.get(SWITCHES, {})
        return switches

    @property
    def _hiding(self) -> str:
        """The switch of the queue: a random audit has its own."""
        return "hides-audit" if self.queue.name == queues.AUDIT else "hides"

    @property
    def hides(self) -> bool:
        """Whether the evidence stays hidden until a verdict; without a word, in an audit alone."""
        return self._switches.get(self._hiding, self.queue.name == queues.AUDIT)

    @property
    def reveals(self) -> bool:
        """Whether the evidence of a pair is shown once it is decided."""
        return self.hides and self._switches.get("reveals", True)

    def switch(self, *, hides: bool | None, reveals: bool | None) -> None:
        changed = {self._hiding: hides, "reveals": reveals}
        set_now = {name: on for name, on in changed.items() if on is not None}
        self.request.session[SWITCHES] = {**self._switches, **set_now}

    def url(self, name: str, *args: Any, more: str = "") -> str:
        address = reverse(f"scoring:{name}", args=[self.dataset.slug, *args])
        return f"{address}?{self.queue.query}{more}"

    def following(self, found: PreferencePair) -> PreferencePair | None:
        """The pair to go on with from this one, which may stand elsewhere once it is decided."""
        after = queue.place_of(self.queue, found)
        return queue.hand_out(self.queue, to=self.user, after=after)


@never_cache
@require_GET
def next_pair(request: SignedInRequest, slug: str) -> HttpResponse:
    """The first pair of the queue."""
    sitting = Sitting(request, access.dataset_to_curate(request.user, slug))
    return _show(sitting, queue.hand_out(sitting.queue, to=request.user))


@never_cache
@require_GET
def pair(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    found = access.pair_to_curate(request.user, slug, pair_id)
    sitting = Sitting(request, found.dataset)
    holds.take(found, request.user)
    revealed = _revealed(sitting, request.GET.get("decided", ""))
    return _show(sitting, found, seen="seen" in request.GET, revealed=revealed)


@never_cache
@require_GET
def ahead(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """The pair after this one, before this one is left; nothing where none follows."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    sitting = Sitting(request, found.dataset)
    following = sitting.following(found)
    return HttpResponse(status=204) if following is None else _show(sitting, following)


@never_cache
@require_GET
def end(request: SignedInRequest, slug: str) -> HttpResponse:
    sitting = Sitting(request, access.dataset_to_curate(request.user, slug))
    revealed = _revealed(sitting, request.GET.get("decided", ""))
    return _show(sitting, None, revealed=revealed)


@never_cache
@require_GET
def waiting(request: SignedInRequest, slug: str) -> HttpResponse:
    """How many pairs of the queue wait, as a part of the page of a pair, which does not wait for
    the count of a list."""
    sitting = Sitting(request, access.dataset_to_curate(request.user, slug))
    context = {"waiting": queue.count_waiting(sitting.queue), "most_counted": queue.MOST_COUNTED}
    return render(request, "scoring/_waiting.html", context)


@never_cache
@require_GET
def evidence(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """What the models say of the pair, as a part of other pages."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    run = ScoringRun.objects.current(found.dataset)
    context = {"dataset": found.dataset, "pair": found, "evidence": evidence_for(found, run)}
    return render(request, "scoring/_evidence.html", context)


@require_POST
def decide(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    found = access.pair_to_curate(request.user, slug, pair_id)
    form = ReviewForm(request.POST)
    if not form.is_valid():
        raise Refusal("Choose keep, flip, tie or drop.")
    sitting, given = Sitting(request, found.dataset), form.cleaned_data
    after = queue.place_of(sitting.queue, found)
    try:
        decision = decisions.decide(
            pair=found,
            verdict=_verdict(given, found, request.user),
            by=request.user,
            based_on=given["based_on"],
            reason=given["reason"],
            evidence=_rests_on(sitting, found, given),
        )
    except Conflict as conflict:
        found.refresh_from_db()
        return _show(sitting, found, conflict=conflict, seen=True)
    holds.release(found, request.user)
    sitting.trail.leave(found, decision)
    following = queue.hand_out(sitting.queue, to=request.user, after=after)
    return _go_to(sitting, following, decided=decision if given["blind"] else None)


@require_POST
def skip(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """Leave the pair undecided and go on; it comes again when the queue is begun anew."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    sitting = Sitting(request, found.dataset)
    following = sitting.following(found)
    holds.release(found, request.user)
    sitting.trail.leave(found, None)
    return _go_to(sitting, following)


@require_POST
def undo(request: SignedInRequest, slug: str) -> HttpResponse:
    """Take the user's last step back and show its pair again; or, with `decision`, any decision of
    their own that holds still."""
    sitting = Sitting(request, access.dataset_to_curate(request.user, slug))
    decision = _own_decision(sitting, request.POST.get("decision", ""))
    step = _step_to(sitting, decision)
    pair_id, decision_id = step
    found = access.pair_to_curate(request.user, slug, pair_id)
    holds.take(found, request.user)
    if decision_id is None:
        return _go_to(sitting, found)
    decision = Decision.objects.get(pk=decision_id, pair=found)
    try:
        decisions.undo(decision=decision, by=request.user)
    except Conflict as conflict:
        return _show(sitting, found, conflict=conflict, seen=True)
    found.refresh_from_db()
    return _go_to(sitting, found, seen=_has_seen(sitting, decision))


@require_POST
def switch(request: SignedInRequest, slug: str, pair_id: int) -> HttpResponse:
    """Hide the evidence until a verdict, or show it; and whether it is shown after one."""
    found = access.pair_to_curate(request.user, slug, pair_id)
    sitting = Sitting(request, found.dataset)
    sitting.switch(
        hides=_is_on(request.POST.get("hides")), reveals=_is_on(request.POST.get("reveals"))
    )
    return _go_to(sitting, found, seen=bool(request.POST.get("seen")) and sitting.hides)


def _is_on(given: str | None) -> bool | None:
    return None if given is None else given == "1"


# What a decision says and rests on


def first_side(pair: PreferencePair, user: User) -> str:
    """The response that stands first for the user while the evidence is hidden: `a` or `b`. Sources
    may have an order, which would tell."""
    return "ab"[sha256(f"{pair.digest} {user.pk}".encode()).digest()[0] % 2]


def _verdict(given: Mapping[str, Any], found: PreferencePair, user: User) -> Verdict:
    """The verdict as it was given, or what a preferred response means for the label."""
    preferred = given["preferred"]
    if not preferred:
        return Verdict(given["verdict"])
    first = first_side(found, user)
    second = "b" if first == "a" else "a"
    side = {FIRST: first, SECOND: second}.get(preferred, preferred)
    return decisions.verdict_for(found.source_preference, side)


def _rests_on(sitting: Sitting, found: PreferencePair, given: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the run, and whether the curator saw them before the verdict."""
    known = evidence_for(found, sitting.run)
    figures = known.as_dict() if known else {}
    return {**figures, "queue": sitting.queue.name, "seen": not given["blind"]}


# Undo


def _own_decision(sitting: Sitting, number: str) -> Decision | None:
    if not number:
        return None
    known = Decision.objects.filter(
        decided_by=sitting.user, pair__dataset=sitting.dataset, undoes=None, batch=None
    )
    is_number = number.isdecimal() and len(number) < 19
    found = known.filter(pk=int(number)).first() if is_number else None
    if found is None:
        raise Http404("no such decision of theirs")
    return found


def _step_to(sitting: Sitting, decision: Decision | None) -> tuple[int, int | None]:
    """The step that is taken back: the last one, or that of the decision."""
    if decision is not None:
        sitting.trail.forget(decision)
        return decision.pair_id, decision.pk
    step = sitting.trail.go_back()
    if step is None:
        raise Refusal(
            "There is nothing to undo: you have not decided a pair of this dataset since you "
            "signed in."
        )
    return step


def _has_seen(sitting: Sitting, decision: Decision) -> bool:
    """Whether the curator, who hides the evidence now, knows that of the pair they decided."""
    return sitting.hides and (bool(decision.evidence.get("seen", True)) or sitting.reveals)


# Showing


def _go_to(
    sitting: Sitting,
    found: PreferencePair | None,
    *,
    decided: Decision | None = None,
    seen: bool = False,
) -> HttpResponse:
    """The pair in place of the one before it; for a browser without scripts, the page of the
    pair."""
    url = sitting.url("pair", found.pk) if found else sitting.url("review-end")
    revealed = _revealed(sitting, str(decided.pk) if decided else "")
    if not wants_fragment(sitting.request):
        more = f"&decided={revealed.decision.pk}" if revealed else ""
        return redirect(url + more + ("&seen=1" if seen else ""))
    return push_url(_show(sitting, found, seen=seen, revealed=revealed), url)


def _revealed(sitting: Sitting, number: str) -> Revealed | None:
    """The evidence of the decision that the user has just made without it, if they wish to see
    it."""
    if not sitting.reveals or not number:
        return None
    decision = _own_decision(sitting, number)
    assert decision is not None
    return Revealed(decision, evidence_for(decision.pair, sitting.run))


def _show(
    sitting: Sitting,
    found: PreferencePair | None,
    *,
    conflict: Conflict | None = None,
    seen: bool = False,
    revealed: Revealed | None = None,
) -> HttpResponse:
    """The pair as it stands now; after a conflict with the sentence that says what happened."""
    request, dataset = sitting.request, sitting.dataset
    is_blind = found is not None and sitting.hides and not seen
    context: dict[str, Any] = {
        "dataset": dataset,
        "run": sitting.run,
        "sitting": sitting,
        "queue": sitting.queue,
        "waiting": _count_at_once(sitting.queue) if found else queue.count_waiting(sitting.queue),
        "most_counted": queue.MOST_COUNTED,
        "today": sittings.count_today(dataset, request.user),
        "last_decisions": sittings.last_decisions(dataset, request.user),
        "precision": _precision(sitting),
        "can_undo": bool(sitting.trail),
        "conflict": conflict,
        "revealed": revealed,
        "is_blind": is_blind,
        "reasons": list(enumerate(OFFERED_REASONS, 1)),
        "offered": queues.offered(dataset),
    }
    if found is None:
        context |= _end_context(sitting)
    elif is_blind:
        context |= _blind_context(found, request.user)
    else:
        context |= _pair_context(found, sitting.run) | beside.beside(found)
    template = "scoring/_review.html" if wants_fragment(request) else "scoring/review.html"
    return render(request, template, context, status=conflict.status if conflict else 200)


def _precision(sitting: Sitting) -> sittings.FlagPrecision | None:
    """How the queue's flag has held so far; nothing where it would sway whoever judges without the
    evidence."""
    if sitting.run is None or (sitting.hides and not sitting.queue.flag):
        return None
    return sittings.precision_of(sitting.dataset, sitting.queue.flag or Flag.FLIPPED)


def _count_at_once(asked: Queue) -> int | None:
    """How many wait, where an index knows; None where all pairs are looked through for it."""
    return queue.count_waiting(asked) if asked.is_served else None


def _end_context(sitting: Sitting) -> dict[str, Any]:
    others = [each for each in queues.offered(sitting.dataset) if each.name != sitting.queue.name]
    counted = [(each, _count_at_once(each)) for each in others]
    return {
        "has_pairs": sitting.dataset.pairs.exists(),
        "with_others": len(holds.by_others(sitting.dataset, sitting.user)),
        "other_queues": [(each, count) for each, count in counted if count != 0],
    }


def _blind_context(found: PreferencePair, user: User) -> dict[str, Any]:
    """The texts of the pair alone, in an order that tells nothing."""
    first = first_side(found, user)
    responses = {"a": found.response_a, "b": found.response_b}
    differing = dict(zip("ab", _diff(found) or (None, None), strict=True))
    order = [(FIRST, "First", first), (SECOND, "Second", "b" if first == "a" else "a")]
    sides = [Side(name, value, responses[at], differing[at]) for value, name, at in order]
    return {
        **_texts(found, sides),
        "latest": decisions.latest_decision(found),
    }


def _pair_context(found: PreferencePair, run: ScoringRun | None) -> dict[str, Any]:
    """All that the page shows of one pair."""
    diff = _diff(found)
    seen = evidence_for(found, run)
    current = Label.objects.current().filter(pair=found).select_related("annotator__user")
    labels = list(current.order_by("annotator__kind", "pk"))
    sides = [
        Side("A", "a", found.response_a, diff[0] if diff else None, labels, seen),
        Side("B", "b", found.response_b, diff[1] if diff else None, labels, seen),
    ]
    return {
        **_texts(found, sides),
        "evidence": seen,
        "latest": decisions.latest_decision(found),
        "history": found.decisions.select_related("batch__snapshot").order_by("-pk"),
        "labels": labels,
        "checks": [SHOWN[check] for check in Check(found.standing.checks)],
        "preference": decisions.resulting_preference(
            found.source_preference, found.standing.verdict
        ),
    }


def _texts(found: PreferencePair, sides: list[Side]) -> dict[str, Any]:
    return {
        "pair": found,
        "sides": sides,
        "has_diff": sides[0].diff is not None,
        "earlier_turns": found.prompt[:-1],
        "last_turn": found.prompt[-1],
    }


def _diff(found: PreferencePair) -> tuple[list[compare.Segment], list[compare.Segment]] | None:
    if len(found.response_a) != 1 or len(found.response_b) != 1:
        return None
    return compare.word_diff(found.response_a[0]["content"], found.response_b[0]["content"])


def _counted(count: int, kind: Annotator.Kind) -> str:
    several = {Annotator.Kind.HUMAN: "people", Annotator.Kind.AI: "AI judges"}.get(kind, kind.label)
    return f"{count} {kind.label if count == 1 else several}"
