"""What a response looks like: numbers for any text at all, and for the texts they are meant for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.engine.surface import COUNT, surface

# places in a row, as the tests below need them
LIST_ITEMS, ENDS_ASKING, ENDS_PROPERLY, REFUSES, REFUSES_AT_ONCE, EMPTY = 3, 10, 11, 12, 13, 20


def look(response: str, prompt: str = "What now?") -> list[float]:
    return [float(value) for value in surface([prompt], [response])[0]]


texts = st.one_of(
    st.text(max_size=200),
    st.sampled_from(["", " ", "\n\n\n", "\x00", "…", "١٢٣", "x" * 5000, "?!.,**``" * 50, "\u2028"]),
)


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_any_text_has_finite_looks(pairs: list[tuple[str, str]]) -> None:
    found = surface([prompt for prompt, _ in pairs], [response for _, response in pairs])
    assert found.shape == (len(pairs), COUNT)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=5))
def test_a_look_depends_on_no_other_response(pairs: list[tuple[str, str]]) -> None:
    together = surface([prompt for prompt, _ in pairs], [response for _, response in pairs])
    for row, (prompt, response) in zip(together, pairs, strict=True):
        np.testing.assert_array_equal(row, surface([prompt], [response])[0])


def test_each_prompt_needs_its_response() -> None:
    with pytest.raises(ValueError, match="shorter"):
        surface(["a", "b"], ["a"])


@pytest.mark.parametrize(
    ("response", "place", "expected"),
    [
        ("- one\n- two\n3) three\nfour", LIST_ITEMS, np.log1p(3)),
        ("two-fold, 3.5 times", LIST_ITEMS, 0.0),
        ("Which one?", ENDS_ASKING, 1.0),
        ("Which one? This. \n", ENDS_ASKING, 0.0),
        ("This one.\n", ENDS_PROPERLY, 1.0),
        ("`this`", ENDS_PROPERLY, 1.0),
        ("and then the", ENDS_PROPERLY, 0.0),
        ("", ENDS_PROPERLY, 0.0),
        ("  \n", ENDS_PROPERLY, 0.0),
        ("I'm Sorry, but no.", REFUSES, 1.0),
        ("He was a sorryish man.", REFUSES, 0.0),
        ("x " * 100 + "sorry", REFUSES, 1.0),
        ("x " * 100 + "sorry", REFUSES_AT_ONCE, 0.0),
        ("", EMPTY, 1.0),
        (" \n ", EMPTY, 1.0),
        ("a", EMPTY, 0.0),
    ],
)
def test_a_look_is_what_a_reader_would_say(response: str, place: int, expected: float) -> None:
    assert look(response)[place] == pytest.approx(expected)
