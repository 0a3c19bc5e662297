"""Filters of the list of pairs under a name, for everybody who curates the dataset. A view that is
retired keeps its address."""

from django.db import IntegrityError, transaction
from django.utils import timezone

from annotations import permissions
from annotations.filters import Filter
from annotations.models import Dataset, SavedView
from curator.lib.refusals import Conflict, Refusal
from curator.models import User

LONGEST_NAME = 120
LONGEST_QUERY = 2000


def save(*, dataset: Dataset, name: str, wanted: Filter, by: User) -> SavedView:
    """Keep the filter under the name. The same filter under the same name is kept once; raises
    Conflict where the name stands for another one."""
    permissions.check_can_curate(by, dataset)
    query = wanted.as_query()
    if wanted.problems:
        raise Refusal(wanted.problems[0])
    if len(query) > LONGEST_QUERY:
        raise Refusal(f"A filter of more than {LONGEST_QUERY:,} characters cannot be saved.")
    named = _checked(name)
    same = dataset.views.filter(name=named, query=query, retired_at=None).first()
    if same is not None:
        return same
    return _written(SavedView(dataset=dataset, name=named, query=query, created_by=by))


def rename(view: SavedView, *, name: str, by: User) -> SavedView:
    """Call the view something else; its address stays. Raises Conflict where the name is taken."""
    permissions.check_can_curate(by, view.dataset)
    view.name = _checked(name)
    return _written(view)


def retire(view: SavedView, *, by: User) -> None:
    """Take the view off the list; whoever has its address can still open it."""
    permissions.check_can_curate(by, view.dataset)
    SavedView.objects.filter(pk=view.pk, retired_at=None).update(retired_at=timezone.now())


def _checked(name: str) -> str:
    name = " ".join(name.replace("\x00", " ").split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise Refusal(f"Give the view a name of at most {LONGEST_NAME} characters.")
    return name


def _written(view: SavedView) -> SavedView:
    try:
        with transaction.atomic():
            view.save()
    except IntegrityError as error:
        raise Conflict(
            f"There is a view called “{view.name}” already: choose another name."
        ) from error
    return view
