"""Marking where two responses differ never changes what they say."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import compare
from annotations.compare import Segment, word_diff

WORDS = st.lists(st.sampled_from(["red", "green", "blue", " ", "\n\n", ".", "né"]), max_size=30)
TEXTS = WORDS.map("".join) | st.text(max_size=60)


def text_of(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def marked(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments if segment.differs]


def diff(first: str, second: str) -> tuple[list[Segment], list[Segment]]:
    segments = word_diff(first, second)
    assert segments is not None
    return segments


def test_only_the_words_that_differ_are_marked() -> None:
    first, second = diff("The sky is blue today.", "The sky is very green today.")
    assert marked(first) == ["blue"]
    assert marked(second) == ["very green"]


def test_white_space_between_two_marked_words_is_marked_with_them() -> None:
    first, _ = diff("Well, one two three, that is it.", "Well, six seven eight, that is it.")
    assert marked(first) == ["one two three"]


def test_a_text_that_only_goes_on_is_marked_where_it_goes_on() -> None:
    first, second = diff("Yes, it is.", "Yes, it is. Ask again.")
    assert marked(first) == []
    assert "".join(marked(second)).strip() == "Ask again."


def test_texts_with_little_in_common_are_not_marked_at_all() -> None:
    assert word_diff("one two three four", "a-b-c-d-e-f-g-h-i-j-k") is None


@pytest.mark.parametrize(("first", "second"), [("", "x"), ("x", "")])
def test_an_empty_text_has_nothing_in_common_with_another(first: str, second: str) -> None:
    assert word_diff(first, second) is None


def test_long_texts_are_only_trimmed_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "MOST_WORDS", 4)
    start, end = "word " * 20, " more" * 20
    first, second = diff(f"{start}a same b{end}", f"{start}c same d{end}")
    assert marked(first) == ["a same b"]
    assert (text_of(first), text_of(second)) == (f"{start}a same b{end}", f"{start}c same d{end}")


@given(TEXTS, TEXTS)
def test_the_segments_together_are_the_texts(first: str, second: str) -> None:
    segments = word_diff(first, second)
    if segments is not None:
        assert (text_of(segments[0]), text_of(segments[1])) == (first, second)


@given(TEXTS)
def test_equal_texts_have_no_marks(text: str) -> None:
    first, second = diff(text, text)
    assert first == second
    assert marked(first) == []


@given(TEXTS, TEXTS)
def test_different_texts_have_a_mark(first: str, second: str) -> None:
    segments = word_diff(first, second)
    if segments is not None and first != second:
        assert marked(segments[0]) or marked(segments[1])


@given(TEXTS, TEXTS)
def test_what_is_not_marked_is_the_same_on_both_sides(first: str, second: str) -> None:
    """But for white space, which is marked with the words around it."""
    segments = word_diff(first, second)
    if segments is not None:
        shared = [
            "".join("".join(part.text for part in side if not part.differs).split())
            for side in segments
        ]
        assert shared[0] == shared[1]


@given(TEXTS, TEXTS)
def test_neighbouring_segments_are_joined(first: str, second: str) -> None:
    for side in word_diff(first, second) or ():
        assert all(one.differs != other.differs for one, other in pairwise(side))
        assert all(segment.text for segment in side)
