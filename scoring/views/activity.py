"""Who did what in a dataset."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_GET

from annotations import access
from annotations.activity import HOUR, Key, Wanted, by_hand
from annotations.models import Dataset
from curator.models import User
from curator.requests import SignedInRequest
from scoring import activity

MOST_OF_AN_HOUR = 2000
LONGEST_SHOWN = 60


@require_GET
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    asked = request.GET.dict()
    people = list(_people(dataset))
    problems = problems_of(asked, people)
    context = {
        "dataset": dataset,
        "page": None if problems else activity.feed(dataset, wanted_of(asked)),
        "problems": problems,
        "asked": asked,
        "groups": activity.GROUPS,
        "people": people,
        "is_filtered": any(asked.get(name) for name in ("kind", "person", "since", "until")),
    }
    return render(request, "scoring/activity.html", context, status=422 if problems else 200)


@require_GET
def hour(request: SignedInRequest, slug: str, person_id: int, hour: str) -> HttpResponse:
    """What one person decided within an hour, each decision with its pair."""
    dataset = access.dataset_to_curate(request.user, slug)
    try:
        start = datetime.strptime(hour, HOUR).replace(tzinfo=UTC)
    except ValueError as error:
        raise Http404("no such hour") from error
    person = get_object_or_404(_people(dataset), pk=person_id)
    made = list(by_hand(dataset, person.pk, start)[:MOST_OF_AN_HOUR])
    context = {"dataset": dataset, "decisions": made, "start": start, "person": person}
    return render(request, "scoring/activity_hour.html", context)


def problems_of(asked: Mapping[str, str], people: Sequence[User]) -> list[str]:
    """What of the address cannot be read, each a sentence. Then nothing of it is acted on: a list
    of more than was asked for would be taken for the answer."""
    found = []
    if asked.get("kind") and asked["kind"] not in activity.GROUPS:
        found.append(f"There is no kind of activity “{_short(asked['kind'])}”: choose one below.")
    if asked.get("person") and asked["person"] not in {str(person.pk) for person in people}:
        found.append("That person is and was no member of this dataset: choose somebody below.")
    found += [
        f"“{_short(asked[name])}” is no day: write it as 2026-01-31."
        for name in ("since", "until")
        if asked.get(name) and _day(asked[name]) is None
    ]
    if asked.get("after") and Key.read(asked["after"]) is None:
        found.append("The address does not say after which entry to go on: begin with the newest.")
    return found


def wanted_of(asked: Mapping[str, str]) -> Wanted:
    """What an address asks for of which everything can be read."""
    person, until = asked.get("person", ""), _day(asked.get("until", ""))
    return Wanted(
        group=asked.get("kind", ""),
        person=int(person) if person else None,
        since=_day(asked.get("since", "")),
        until=until + timedelta(days=1) if until and until.year < 9999 else None,
        after=Key.read(asked.get("after", "")),
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _day(text: str) -> datetime | None:
    try:
        found = parse_date(text)
    except ValueError:
        return None
    return datetime.combine(found, time(), UTC) if found else None


def _people(dataset: Dataset) -> QuerySet[User]:
    """Whoever is or was a member."""
    return User.objects.filter(memberships__dataset=dataset).order_by("username").distinct()
