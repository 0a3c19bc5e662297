"""Who did what in a dataset."""

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


@require_GET
def index(request: SignedInRequest, slug: str) -> HttpResponse:
    dataset = access.dataset_to_curate(request.user, slug)
    asked = request.GET.dict()
    context = {
        "dataset": dataset,
        "page": activity.feed(dataset, wanted_of(asked)),
        "asked": asked,
        "groups": activity.GROUPS,
        "people": list(_people(dataset)),
        "is_filtered": any(asked.get(name) for name in ("kind", "person", "since", "until")),
    }
    return render(request, "scoring/activity.html", context)


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


def wanted_of(asked: dict[str, str]) -> Wanted:
    """What the address asks for; what cannot be read is not asked for."""
    group, person = asked.get("kind", ""), asked.get("person", "")
    until = _day(asked.get("until", ""))
    return Wanted(
        group=group if group in activity.GROUPS else "",
        person=int(person[:18]) if person.isascii() and person.isdigit() else None,
        since=_day(asked.get("since", "")),
        until=until + timedelta(days=1) if until and until.year < 9999 else None,
        after=Key.read(asked.get("after", "")),
    )


def _day(text: str) -> datetime | None:
    try:
        found = parse_date(text)
    except ValueError:
        return None
    return datetime.combine(found, time(), UTC) if found else None


def _people(dataset: Dataset) -> QuerySet[User]:
    """Whoever is or was a member."""
    return User.objects.filter(memberships__dataset=dataset).order_by("username").distinct()
