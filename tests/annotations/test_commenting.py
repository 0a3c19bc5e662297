"""Comments: kept for good, read by curators, and by an annotator only their own."""

from typing import Any

import pytest

from annotations import commenting
from annotations.models import Comment, Dataset, PreferencePair
from curator.lib.append_only import AppendOnlyError
from curator.lib.refusals import Forbidden
from curator.models import User
from tests import factories


@pytest.fixture
def pair(dataset: Dataset) -> PreferencePair:
    return factories.pairs(dataset, 1)[0]


@pytest.fixture
def ann(dataset: Dataset) -> User:
    person = factories.annotator(dataset, "ann").user
    assert person is not None
    return person


def test_a_comment_names_who_said_it(pair: PreferencePair, casey: User) -> None:
    said = commenting.comment(pair=pair, by=casey, text="  A invents a source.\n")
    assert (said.text, said.actor, said.author) == ("A invents a source.", "casey", casey)


def test_the_same_comment_sent_twice_is_kept_once(pair: PreferencePair, casey: User) -> None:
    first = commenting.comment(pair=pair, by=casey, text="Look.")
    assert commenting.comment(pair=pair, by=casey, text="Look. ") == first
    commenting.comment(pair=pair, by=casey, text="Look again.")
    assert pair.comments.count() == 2


def test_curators_read_all_comments_and_annotators_their_own(
    pair: PreferencePair, casey: User, ann: User
) -> None:
    mine = commenting.comment(pair=pair, by=ann, text="I cannot tell.")
    theirs = commenting.comment(pair=pair, by=casey, text="A is right.")
    assert list(commenting.comments_for(ann, pair)) == [mine]
    assert list(commenting.comments_for(casey, pair)) == [mine, theirs]


@pytest.mark.parametrize("text", ["", "  \n", "\x00", "x" * 5001])
def test_what_is_no_comment_is_refused(pair: PreferencePair, casey: User, text: str) -> None:
    with pytest.raises(commenting.NotAComment):
        commenting.comment(pair=pair, by=casey, text=text)
    assert not Comment.objects.exists()


@pytest.mark.parametrize(
    ("text", "kept"), [("a\x00b", "ab"), ("\ud800x", "?x"), ("<b>x</b>", "<b>x</b>")]
)
def test_a_comment_is_kept_as_text_that_every_database_can_hold(
    pair: PreferencePair, casey: User, text: str, kept: str
) -> None:
    assert commenting.comment(pair=pair, by=casey, text=text).text == kept


def test_a_stranger_comments_nothing(pair: PreferencePair) -> None:
    with pytest.raises(Forbidden):
        commenting.comment(pair=pair, by=factories.user("stranger"), text="Hello.")


def test_a_comment_is_never_changed(pair: PreferencePair, casey: User) -> None:
    said = commenting.comment(pair=pair, by=casey, text="Look.")
    said.text = "Never mind."
    for change in (said.save, said.delete):
        with pytest.raises(AppendOnlyError):
            change()
    comments: Any = Comment.objects
    with pytest.raises(AppendOnlyError):
        comments.update(text="x")
