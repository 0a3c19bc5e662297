"""Comments on a pair: what somebody remarks beside any label. Curators read all of them, an
annotator only their own, so that nobody's remark colours another's judgement."""

from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from annotations import permissions
from annotations.models import Comment, Dataset, PreferencePair
from curator.lib.refusals import Refusal
from curator.lib.texts import storable_text
from curator.models import User

LONGEST = 5000
SENT_TWICE = timedelta(minutes=1)
LATELY = timedelta(days=7)


class NotAComment(Refusal):
    """There is nothing in it, or too much."""

    status = 422


def comment(*, pair: PreferencePair, by: User, text: str) -> Comment:
    """The user's remark on the pair. The same one sent twice within a minute is kept once."""
    permissions.check_can_label(by, pair.dataset)
    said = storable_text(text).strip()
    if not said:
        raise NotAComment("Write what you want to remark, then send it.")
    if len(said) > LONGEST:
        raise NotAComment(
            f"The comment has {len(said):,} characters: at most {LONGEST:,} are kept, so shorten "
            f"it."
        )
    before = Comment.objects.filter(
        pair=pair, author=by, text=said, created_at__gte=timezone.now() - SENT_TWICE
    )
    return before.first() or Comment.objects.create(
        pair=pair, author=by, actor=by.shown_name, text=said
    )


def comments_for(user: User, pair: PreferencePair) -> QuerySet[Comment]:
    """What the user may read of what was remarked on the pair, the oldest first."""
    if permissions.can_curate(user, pair.dataset):
        return for_curators(pair)
    return for_curators(pair).filter(author=user)


def of_dataset(dataset: Dataset) -> QuerySet[Comment]:
    """All that was remarked on its pairs, the newest first."""
    return Comment.objects.filter(pair__dataset=dataset).order_by("-pk")


def lately(dataset: Dataset) -> int:
    """How many comments the last days have brought."""
    return of_dataset(dataset).filter(created_at__gte=timezone.now() - LATELY).count()


def for_curators(pair: PreferencePair) -> QuerySet[Comment]:
    """All that was remarked on the pair, the oldest first."""
    return Comment.objects.filter(pair=pair).order_by("pk")
