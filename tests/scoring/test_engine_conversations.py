"""What a reward model reads of a pair: both sides alike, whole unless it is said, or not at all."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.engine.conversations import CLOSING, Conversations, Reader, ReadPair, Text, Unreadable
from tests import tiny_models
from tests.scoring.oracle import PAIRS, TURNS, asked, assistant, some_pairs, user

WINDOW = 40
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|system|>Be kind.</s>{% endif %}" + tiny_models.TEMPLATE
)


def reader(
    *, template: str | None = tiny_models.TEMPLATE, max_length: int = 10_000, **options: Any
) -> Reader:
    """Of a decoder."""
    tokenizer = tiny_models.byte_tokenizer(template=template, **options)
    return Reader(tokenizer, is_decoder=True, max_length=max_length)


def encoder(max_length: int = 10_000) -> Reader:
    return Reader(tiny_models.word_tokenizer(), is_decoder=False, max_length=max_length)


def read(by: Reader, pair: Conversations) -> ReadPair:
    found = by.read([pair])[0]
    assert isinstance(found, ReadPair), found
    return found


def refused(by: Reader, pair: Conversations) -> str:
    found = by.read([pair])[0]
    assert isinstance(found, Unreadable), found
    return found.reason


def shown(by: Reader, text: Text) -> str:
    return str(by.tokenizer.decode(text.ids))


READERS = {
    "template": reader,
    "no template": lambda max_length=10_000: reader(template=None, max_length=max_length),
    "adds BOS": lambda max_length=10_000: reader(
        template=tiny_models.TEMPLATE_WITHOUT_BOS, adds_bos=True, max_length=max_length
    ),
    "encoder": encoder,
}


@pytest.fixture(params=READERS)
def make(request: pytest.FixtureRequest) -> Any:
    return READERS[request.param]


def test_a_conversation_is_what_its_template_writes() -> None:
    by = reader()
    found = read(by, TURNS[0])
    start = "<s><|user|>Hi.</s><|assistant|>Hello, what is it?</s><|user|>Why is the sky blue?</s>"
    assert shown(by, found.a) == start + "<|assistant|>Rayleigh.</s>"
    assert shown(by, found.b) == start + (
        "<|assistant|>Who knows</s><|user|>You do.</s><|assistant|>So I do.</s>"
    )
    assert not found.truncated


def test_pairs_keep_their_order(make: Any) -> None:
    by = make()
    together = by.read(PAIRS)
    for pair, found in zip(PAIRS, together, strict=True):
        alone = read(by, pair)
        np.testing.assert_array_equal(found.a.ids, alone.a.ids)
        np.testing.assert_array_equal(found.b.ids, alone.b.ids)
    assert by.read([]) == []


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("written", [0, 1, 2])
def test_there_is_one_bos_however_many_are_written(written: int, adds_bos: bool) -> None:
    template = tiny_models.BOS * written + tiny_models.TEMPLATE_WITHOUT_BOS
    by = reader(template=template, adds_bos=adds_bos)
    for text in (read(by, PAIRS[0]).a, read(by, PAIRS[0]).b):
        assert (text.ids == by.bos).sum() == min(written + adds_bos, 1)


def test_a_default_system_prompt_is_on_both_sides() -> None:
    by = reader(template=DEFAULT_SYSTEM)
    found = read(by, asked("Why?", "So.", "No."))
    for text, answer in ((found.a, "So."), (found.b, "No.")):
        whole = f"<|system|>Be kind.</s><s><|user|>Why?</s><|assistant|>{answer}</s>"
        assert shown(by, text) == whole


def test_a_conversation_that_the_template_refuses_is_refused_alone() -> None:
    by = reader(template=tiny_models.TEMPLATE_WITHOUT_SYSTEM)
    pairs = [PAIRS[0], TURNS[1], PAIRS[1]]
    first, bad, last = by.read(pairs)
    assert bad == Unreadable(
        "The chat template refuses this conversation: System role not supported"
    )
    for found, pair in ((first, PAIRS[0]), (last, PAIRS[1])):
        assert isinstance(found, ReadPair)
        np.testing.assert_array_equal(found.a.ids, read(by, pair).a.ids)


@pytest.mark.parametrize(
    "expression",
    ["messages[0].absent.absent", "messages[9].role", "1 + 'a'", "''.index('x')"],
)
def test_whatever_goes_wrong_in_a_template_is_told(expression: str) -> None:
    by = reader(template="{{ " + expression + " }}")
    assert refused(by, PAIRS[0]).startswith("The chat template refuses this conversation: ")


@pytest.mark.parametrize("make", [READERS["no template"], encoder])
def test_several_turns_cannot_be_read_without_a_template(make: Any) -> None:
    for pair in TURNS:
        assert refused(make(), pair) == (
            "The tokenizer has no chat template, so a conversation of several turns cannot be read."
        )


def test_a_conversation_of_nothing_is_refused() -> None:
    by = reader(template=None)
    by.tokenizer.eos_token = None
    assert refused(by, asked("", "", "a")) == "The conversation is empty."
    assert "refuses this conversation" in refused(reader(), Conversations([], [], []))


def test_an_empty_response_is_a_response(make: Any) -> None:
    by = make()
    found = read(by, asked("Why?", "", "So."))
    assert 0 < len(found.a.ids) < len(found.b.ids)
    assert not found.truncated


def test_an_encoder_reads_question_and_answer_side_by_side() -> None:
    by = encoder()
    for pair in PAIRS:
        found = read(by, pair)
        for text, turns in ((found.a, pair.a), (found.b, pair.b)):
            question, answer = pair.prompt[0]["content"], turns[0]["content"]
            expected = by.tokenizer([(question, answer)])
            assert text.ids.tolist() == expected["input_ids"][0]
            types = [0] * text.second + [1] * (len(text.ids) - text.second)
            assert types == expected["token_type_ids"][0]


def test_texts_differ_by_their_tokens_and_segments() -> None:
    ids = np.array([1, 2, 3])
    keys = {Text(ids, 3).key, Text(ids, 2).key, Text(ids[:2], 2).key, Text(ids[::-1], 3).key}
    assert len(keys) == 4
    assert Text(ids.copy(), 3).key == Text(ids, 3).key


# What is too long


@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_text_as_long_as_the_window_is_whole(make: Any, length: int) -> None:
    pair = asked("why the cat?", "so", "because")
    longest = len(read(make(), pair).b.ids)
    found = read(make(max_length=longest - length), pair)
    assert found.truncated == (length > 0)
    assert len(found.b.ids) == longest - length


def test_a_long_prompt_loses_its_beginning_on_both_sides(make: Any) -> None:
    pair = asked("first " + "why " * 50 + "last", "so", "because it is so")
    by, all_of_it = make(max_length=WINDOW), make()
    found, whole = read(by, pair), read(all_of_it, pair)
    assert found.truncated
    left_out = len(whole.b.ids) - WINDOW
    for now, before in ((found.a, whole.a), (found.b, whole.b)):
        lead = int(before.ids[0] in (by.bos, by.tokenizer.cls_token_id))
        kept = [*before.ids[:lead], *before.ids[lead + left_out :]]
        assert now.ids.tolist() == kept
        assert now.second == before.second - left_out
    assert "first" not in shown(by, found.a)
    assert "last" in shown(by, found.a).replace(" ##", "").replace(" ", "")


def test_a_prompt_longer_than_the_window_leaves_room_for_both_responses(make: Any) -> None:
    pair = asked("why " * 500, "so", "because it is so")
    found = read(make(max_length=WINDOW), pair)
    whole = read(make(), pair)
    assert len(found.a.ids) < len(found.b.ids) == WINDOW
    for now, before in ((found.a, whole.a), (found.b, whole.b)):
        assert now.ids[-10:].tolist() == before.ids[-10:].tolist()


def test_a_response_longer_than_the_window_keeps_its_beginning_and_its_end() -> None:
    by = reader(max_length=WINDOW)
    found = read(by, asked("Why?", "So.", "a" + "b" * 100 + "c"))
    assert found.truncated
    assert shown(by, found.b) == "<s><|assistant|>a" + "b" * (WINDOW - 5) + "c</s>"
    assert shown(by, found.a) == "<s><|assistant|>So.</s>"


def test_the_beginning_that_two_responses_share_is_no_prompt() -> None:
    by = reader(max_length=WINDOW)
    found = read(by, asked("Why?", "y" * 50 + "a", "y" * 50 + "b"))
    for text, last in ((found.a, "a"), (found.b, "b")):
        assert shown(by, text) == "<s><|assistant|>" + "y" * (WINDOW - 4) + f"{last}</s>"


def test_a_conversation_without_a_prompt_of_its_own_can_be_cut() -> None:
    by = reader(max_length=WINDOW)
    turns = [user("why " * 30), assistant("so")]
    found = read(by, Conversations([], turns, [*turns[:1], assistant("no")]))
    assert found.truncated
    assert max(len(found.a.ids), len(found.b.ids)) == WINDOW
    assert shown(by, found.a).endswith("<|assistant|>so</s>")
    assert shown(by, found.b).endswith("<|assistant|>no</s>")


@pytest.mark.parametrize("make", [reader, encoder])
def test_a_response_of_a_million_characters_is_cut_in_time(make: Any) -> None:
    by = make(max_length=WINDOW)
    started = time.perf_counter()
    found = read(by, asked("Why?", "So.", "why the " * 125_000))
    assert time.perf_counter() - started < 20
    assert found.truncated
    assert len(found.b.ids) == WINDOW
    assert found.b.ids[-1] == found.a.ids[-1]


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(READERS)),
    st.integers(8, 60),
    *[st.text("ab ", max_size=40)] * 3,
)
def test_both_sides_lose_the_same_tokens_of_the_prompt(
    name: str, max_length: int, question: str, a: str, b: str
) -> None:
    make: Any = READERS[name]
    pair = asked(question, a, b)
    by = make(max_length=max_length)
    found, whole = read(by, pair), read(make(), pair)
    longest = max(len(whole.a.ids), len(whole.b.ids))
    assert found.truncated == (longest > max_length)
    cuts = []
    for now, before in ((found.a, whole.a), (found.b, whole.b)):
        assert len(now.ids) <= max_length
        assert now.second <= len(now.ids)
        if not found.truncated:
            np.testing.assert_array_equal(now.ids, before.ids)
        assert now.ids[0] == before.ids[0] or before.ids[0] != by.bos
        assert now.ids[-CLOSING:].tolist() == before.ids[-len(now.ids[-CLOSING:]) :].tolist()
        if len(now.ids) < max_length:  # its response is whole: what is missing is of the prompt
            cuts.append(len(before.ids) - len(now.ids))
    assert len(set(cuts)) <= 1


def test_what_a_model_does_not_read_at_the_end_is_dropped() -> None:
    by = reader(pad=tiny_models.EOS)
    whole = read(by, PAIRS[0])
    by.dropped_at_end = by.tokenizer.eos_token_id
    found = read(by, PAIRS[0])
    assert found.a.ids.tolist() == whole.a.ids[:-1].tolist()
    by.dropped_at_end = 10_000
    assert read(by, PAIRS[0]).a.ids.tolist() == whole.a.ids.tolist()


@pytest.mark.parametrize(
    ("by", "last"),
    [
        (reader(), tiny_models.EOS),
        (reader(template=None), tiny_models.EOS),
        (reader(template=tiny_models.TEMPLATE + "!"), "!"),
        (encoder(), "[SEP]"),
    ],
)
def test_the_token_that_ends_a_text_is_known(by: Reader, last: str) -> None:
    found = by.last_token_of([user("Why?"), assistant("So.")])
    assert found == by.tokenizer.convert_tokens_to_ids(last)
    assert {text.ids[-1] for text in (read(by, pair).a for pair in some_pairs(4))} == {found}


def test_where_nothing_ends_a_text_nothing_is_known_to() -> None:
    by = reader(template=None)
    by.tokenizer.eos_token = None
    assert by.last_token_of([user("Why?"), assistant("So.")]) is None
