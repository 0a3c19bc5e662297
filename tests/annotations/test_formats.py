"""Rows of every layout become pairs, or say why they cannot."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.formats import hh, trl
from annotations.formats.layouts import BY_NAME, layout_of
from annotations.formats.parsed import (
    DEEPEST,
    OTHER_SIDE,
    Judgement,
    Message,
    ParsedLabel,
    ParsedPair,
    RowError,
    check_storable,
    other_way_round,
    source_preference,
)

Row = dict[str, Any]

LONE_SURROGATE = "\ud800"


def pair_of(row: Row) -> ParsedPair:
    return layout_of(row).parse(row)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def system(text: str) -> Message:
    return {"role": "system", "content": text}


def chosen_of(pair: ParsedPair) -> list[Message]:
    return pair.response_a if pair.source_preference == "a" else pair.response_b


def rejected_of(pair: ParsedPair) -> list[Message]:
    return pair.response_b if pair.source_preference == "a" else pair.response_a


def transcript(*turns: Message) -> str:
    speaker = {"user": "Human", "assistant": "Assistant"}
    return "".join(f"\n\n{speaker[turn['role']]}: {turn['content']}" for turn in turns)


def labelled(*labels: Row | str, **changes: Any) -> Row:
    """A normalised row; a label that is text is a person's."""
    said = [
        {"annotator": f"person {number}", "label": label} if isinstance(label, str) else label
        for number, label in enumerate(labels)
    ]
    return {"prompt": "Why?", "response_a": "So.", "response_b": "No.", "labels": said, **changes}


def label(kind: str, preference: str, annotator: str = "judge") -> Row:
    return {"annotator": annotator, "kind": kind, "label": preference}


# --- HH-RLHF transcripts


def test_two_transcripts_are_a_pair_whose_prompt_is_what_they_share() -> None:
    pair = pair_of(
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Because.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: No.",
        }
    )
    assert pair.prompt == [user("Hi"), assistant("Hello"), user("Why?")]
    assert (chosen_of(pair), rejected_of(pair)) == ([assistant("Because.")], [assistant("No.")])


def test_transcripts_that_diverge_earlier_have_responses_of_several_turns() -> None:
    pair = pair_of(
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Because.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Go away",
        }
    )
    assert pair.prompt == [user("Hi")]
    assert chosen_of(pair) == [assistant("Hello"), user("Why?"), assistant("Because.")]
    assert rejected_of(pair) == [assistant("Go away")]


def test_transcripts_whose_users_diverge_keep_the_answer_before_out_of_the_prompt() -> None:
    """A prompt ends with a user's turn, so that both responses begin with an answer."""
    pair = pair_of(
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: So.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How?\n\nAssistant: So.",
        }
    )
    assert pair.prompt == [user("Hi")]
    assert chosen_of(pair) == [assistant("Hello"), user("Why?"), assistant("So.")]


def test_a_turn_may_hold_paragraphs_and_speakers_named_within_a_line() -> None:
    text = "One.\n\nTwo, said the Human: me."
    pair = pair_of(
        {
            "chosen": transcript(user("Hi"), assistant(text)),
            "rejected": transcript(user("Hi"), assistant("No.")),
        }
    )
    assert chosen_of(pair) == [assistant(text)]


def test_the_chosen_transcript_does_not_always_stand_on_one_side() -> None:
    sides = {
        pair_of(
            {
                "chosen": transcript(user("Hi"), assistant(f"good {number}")),
                "rejected": transcript(user("Hi"), assistant(f"bad {number}")),
            }
        ).source_preference
        for number in range(20)
    }
    assert sides == {"a", "b"}


def test_other_columns_are_kept_as_meta() -> None:
    pair = pair_of(
        {
            "id": 7,
            "chosen": transcript(user("Hi"), assistant("yes")),
            "rejected": transcript(user("Hi"), assistant("no")),
            "subset": "harmless",
            "nothing": None,
        }
    )
    assert (pair.source_id, pair.meta) == ("7", {"subset": "harmless"})


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("Human: a\n\nAssistant: b", "Human: a\n\nAssistant: b", "identical"),
        ("Human: a\n\nAssistant: b", "Human: c\n\nAssistant: d", "the same message"),
        ("Human: a\n\nAssistant: b", "Human: a\n\nAssistant:", "a response is empty"),
        ("Human: a\n\nAssistant: b\n\nHuman: c", "Human: a\n\nAssistant: d", "must end with an"),
        ("Human: a\n\nAssistant: b\n\nAssistant: c", "Human: a\n\nAssistant: d", "not alternate"),
        ("Human: a\n\nHuman: a\n\nAssistant: b", "Human: a\n\nHuman: a\n\nAssistant: c", "altern"),
        ("Human: a", "Human: b", "the same message"),
        ("Assistant: a", "Assistant: b", "the same message"),
        ("Human: \n\nAssistant: b", "Human: \n\nAssistant: c", "last message is empty"),
    ],
)
def test_transcripts_that_make_no_pair_are_refused(chosen: str, rejected: str, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        pair_of({"chosen": chosen, "rejected": rejected})


def test_text_before_the_first_turn_is_refused_when_transcripts_are_asked_for() -> None:
    with pytest.raises(RowError, match="`chosen` does not begin with `Human:`"):
        BY_NAME["hh"].parse({"chosen": "Hi\n\nHuman: a", "rejected": "\n\nHuman: a"})


# --- TRL


QUESTION, GOOD, BAD = user("Why?"), assistant("Because."), assistant("No.")
LAYOUTS_OF_ONE_PAIR: list[Row] = [
    {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
    {"prompt": [QUESTION], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": "Why?", "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": [QUESTION], "chosen": "Because.", "rejected": "No."},
    {"prompt": [QUESTION], "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
    {"prompt": "Why?", "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
    {"chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
    {"prompt": None, "chosen": [QUESTION, GOOD], "rejected": [QUESTION, BAD]},
    {"chosen": "Why? Because.", "rejected": "Why? No."},
]


@pytest.mark.parametrize("row", LAYOUTS_OF_ONE_PAIR, ids=json.dumps)
def test_every_trl_layout_gives_the_same_pair(row: Row) -> None:
    pair = pair_of(row)
    assert pair.prompt == [QUESTION]
    assert (chosen_of(pair), rejected_of(pair)) == ([GOOD], [BAD])
    assert pair.labels == (ParsedLabel("source", "source", pair.source_preference or "skip"),)


def test_a_system_message_belongs_to_the_prompt() -> None:
    shared = [system("Be kind."), QUESTION]
    pair = pair_of({"chosen": [*shared, GOOD], "rejected": [*shared, BAD]})
    assert pair.prompt == shared


def test_a_chat_that_diverges_earlier_has_responses_of_several_turns() -> None:
    long = [QUESTION, assistant("Which?"), user("This."), GOOD]
    pair = pair_of({"chosen": long, "rejected": [QUESTION, BAD]})
    assert (pair.prompt, chosen_of(pair), rejected_of(pair)) == ([QUESTION], long[1:], [BAD])


@pytest.mark.parametrize(
    ("first", "second", "prompt"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is"),
        ("The sky is blue.", "The sky is black.", "The sky is"),  # not "The sky is bl"
        ("The sky is", "The sky is blue", "The sky"),  # something is left on each side
    ],
)
def test_the_prompt_of_plain_texts_is_the_whole_words_they_share(
    first: str, second: str, prompt: str
) -> None:
    assert pair_of({"chosen": first, "rejected": second}).prompt == [user(prompt)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "p", "chosen": "x", "rejected": "x"}, r"\(chosen and rejected\) are identical"),
        ({"chosen": "p x", "rejected": "p x"}, "are identical"),
        ({"prompt": "p", "chosen": "x", "rejected": " \n"}, "a response is empty"),
        ({"prompt": "p", "chosen": [], "rejected": [BAD]}, "a response is empty"),
        ({"prompt": " ", "chosen": "x", "rejected": "y"}, "last message is empty"),
        ({"prompt": "p", "chosen": None, "rejected": "y"}, "`chosen` is missing"),
        ({"prompt": "p", "chosen": "x", "rejected": None}, "`rejected` is missing"),
        ({"prompt": "p", "chosen": "x", "rejected": [BAD]}, "both must be alike"),
        ({"prompt": 3, "chosen": "x", "rejected": "y"}, "`prompt` must be .* not a number"),
        ({"prompt": "p", "chosen": {}, "rejected": "y"}, "not an object"),
        ({"prompt": "p", "chosen": ["x"], "rejected": ["y"]}, "an object with `role`"),
        ({"prompt": "p", "chosen": [{"role": "tool"}], "rejected": [BAD]}, "the role 'tool'"),
        ({"prompt": "p", "chosen": [{"role": "user"}], "rejected": [BAD]}, "missing"),
        ({"prompt": [system("s")], "chosen": "x", "rejected": "y"}, "no user message"),
        ({"prompt": [QUESTION, GOOD], "chosen": "x", "rejected": "y"}, "must end with a user"),
        ({"prompt": [QUESTION, QUESTION], "chosen": "x", "rejected": "y"}, "do not alternate"),
        ({"prompt": "p", "chosen": [QUESTION], "rejected": [BAD]}, "do not alternate"),
        ({"prompt": "p", "chosen": [GOOD, QUESTION], "rejected": [BAD]}, "must end with an assis"),
        ({"chosen": "one thing", "rejected": "another"}, "there is no prompt"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "there is no prompt"),
        ({"prompt": [], "chosen": "x", "rejected": "y"}, "there is no prompt"),
    ],
)
def test_a_trl_row_that_makes_no_pair_is_refused(row: Row, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        pair_of(row)


# --- Normalised rows


def test_a_normalised_row_keeps_its_sides_labels_and_meta() -> None:
    pair = pair_of(
        {
            "id": "q1",
            "prompt": [system("Be kind."), user("Why?")],
            "response_a": [assistant("So."), user("And?"), assistant("So too.")],
            "response_b": "No.",
            "labels": [
                {"annotator": " anna ", "label": "b", "strength": 2, "note": None},
                {"annotator": "gpt", "kind": "ai", "label": "both_bad"},
            ],
            "meta": {"lang": "en"},
            "source": "handmade",
        }
    )
    assert pair.source_id == "q1"
    assert pair.prompt == [system("Be kind."), user("Why?")]
    assert pair.response_a == [assistant("So."), user("And?"), assistant("So too.")]
    assert pair.response_b == [assistant("No.")]
    assert pair.labels == (
        ParsedLabel("anna", "human", "b", strength=2),
        ParsedLabel("gpt", "ai", "both_bad"),
    )
    assert pair.meta == {"lang": "en", "source": "handmade"}


@pytest.mark.parametrize("labels", [None, []])
def test_a_pair_may_come_without_labels(labels: object) -> None:
    pair = pair_of(labelled(labels=labels))
    assert (pair.labels, pair.source_preference) == ((), "")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (labelled(response_b="So."), r"\(response_a and response_b\) are identical"),
        (labelled(response_a=" "), "a response is empty"),
        (labelled(response_a=None), "`response_a` is missing"),
        (labelled(prompt=None), "`prompt` is missing"),
        (labelled(response_b=5), "`response_b` must be a list of messages, not a number"),
        (labelled(labels="a"), "`labels` must be a list, not text"),
        (labelled(labels=["a"]), "each label must be an object, not text"),
        (labelled({"label": "a"}), "`annotator` must be text, not missing"),
        (labelled({"label": "a", "annotator": " "}), "must be a name of 1 to 200"),
        (labelled({"label": "a", "annotator": "x" * 201}), "must be a name of 1 to 200"),
        (labelled("c"), "a label says 'c'"),
        (labelled({"annotator": "anna"}), "a label says None"),
        (labelled({"annotator": "anna", "label": ["a"]}), "a label says"),
        (labelled(label("robot", "a")), "`kind` is 'robot'"),
        (labelled(label("ai", "a"), label("ai", "b")), "'judge' has two labels"),
        (labelled(meta=[1]), "`meta` must be an object, not a list"),
        (labelled(meta={"score": float("nan")}), "not finite"),
        (labelled(source=float("inf")), "not finite"),
        (labelled({"annotator": "a", "label": "a", "score": float("-inf")}), "not finite"),
        (labelled(id=1.5), "`id` must be text or a whole number"),
        (labelled(id=True), "`id` must be text or a whole number"),
        (labelled(id="x" * 201), "longer than 200"),
    ],
)
def test_a_normalised_row_that_makes_no_pair_is_refused(row: Row, reason: str) -> None:
    with pytest.raises(RowError, match=reason):
        pair_of(row)


@pytest.mark.parametrize("row", [{}, {"prompt": "p", "chosen": "x"}, {"text": "x"}])
def test_a_row_of_no_known_layout_is_told_which_columns_it_needs(row: Row) -> None:
    with pytest.raises(RowError, match="it needs `chosen` and `rejected`, or"):
        pair_of(row)


@pytest.mark.parametrize("layout", sorted(BY_NAME))
def test_a_named_layout_refuses_rows_that_lack_its_columns(layout: str) -> None:
    with pytest.raises(RowError):
        BY_NAME[layout].parse({"text": "x"})


# --- Text that cannot be stored


@pytest.mark.parametrize(
    ("text", "reason"), [("a\x00b", "NUL character"), (LONE_SURROGATE, "lone surrogate")]
)
@pytest.mark.parametrize(
    "row",
    [
        lambda text: {"prompt": text, "chosen": "x", "rejected": "y"},
        lambda text: {"chosen": f"Human: {text}\n\nAssistant: x", "rejected": "Human: y"},
        lambda text: {"chosen": [user(text), GOOD], "rejected": [QUESTION, BAD]},
        lambda text: labelled(response_b=text),
        lambda text: labelled(id=text),
        lambda text: labelled({"annotator": text, "label": "a"}),
        lambda text: labelled(meta={"deep": [{"note": text}]}),
        lambda text: labelled(meta={text: 1}),
    ],
)
def test_text_that_no_database_holds_is_refused_wherever_it_stands(
    row: Any, text: str, reason: str
) -> None:
    with pytest.raises(RowError, match=reason):
        pair_of(row(text))


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_is_refused_only_beyond_the_limit_however_deep() -> None:
    check_storable(nested(DEEPEST), name="meta")
    for depth in (DEEPEST + 1, 10_000):
        with pytest.raises(RowError, match="`meta` is nested deeper than 64 levels"):
            check_storable(nested(depth), name="meta")


# --- What the source prefers


@pytest.mark.parametrize(
    ("labels", "preferred"),
    [
        ([], ""),
        (["skip"], ""),
        (["both_bad", "skip"], ""),
        (["a"], "a"),
        (["b", "b", "a"], "b"),
        (["a", "b"], "tie"),
        (["tie"], "tie"),
        (["tie", "tie", "a"], "a"),  # only votes for one side weigh
        ([label("ai", "b")], "b"),
        ([label("ai", "b"), label("ai", "b", "other"), "a"], "a"),
        ([label("ai", "a"), "tie"], "tie"),
        ([label("ai", "a"), "skip"], "a"),
        ([label("gold", "b"), "a", "a", label("ai", "a")], "b"),
        ([label("gold", "tie"), "a"], "tie"),
    ],
)
def test_gold_outweighs_people_and_people_outweigh_ai(
    labels: list[Row | str], preferred: str
) -> None:
    assert pair_of(labelled(*labels)).source_preference == preferred


# --- Laws

ONE_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), min_size=1, max_size=30
).map(str.strip)
TURN_TEXT = ONE_TEXT.filter(lambda text: bool(text) and "Human:" not in text)
JUDGEMENTS: tuple[Judgement, ...] = ("a", "b", "tie", "both_bad", "skip")
LABELS = st.lists(
    st.builds(
        ParsedLabel,
        annotator=st.sampled_from(["x", "y", "z"]),
        kind=st.sampled_from(["human", "ai", "gold"]),
        preference=st.sampled_from(JUDGEMENTS),
    ),
    max_size=8,
).map(tuple)


@st.composite
def exchanges(draw: st.DrawFn, *, first: str = "user", ends: str = "assistant") -> list[Message]:
    """Turns in alternation, from `first` to `ends`."""
    rounds = draw(st.integers(0 if first != ends else 1, 3))
    roles = ["user", "assistant"] if first == "user" else ["assistant", "user"]
    count = 2 * rounds + (2 if first != ends else -1)
    return [{"role": roles[number % 2], "content": draw(TURN_TEXT)} for number in range(count)]


@given(exchanges())
def test_a_transcript_of_any_turns_parses_back_to_these_turns(turns: list[Message]) -> None:
    assert hh.turns_of(transcript(*turns), name="chosen") == turns


@given(
    exchanges(ends="user"),
    exchanges(first="assistant", ends="assistant"),
    exchanges(first="assistant", ends="assistant"),
)
def test_prompt_and_response_together_are_the_conversations_the_row_held(
    prompt: list[Message], chosen: list[Message], rejected: list[Message]
) -> None:
    row = {"chosen": transcript(*prompt, *chosen), "rejected": transcript(*prompt, *rejected)}
    if chosen == rejected:
        with pytest.raises(RowError, match="identical"):
            hh.parse(row)
        return
    pair = hh.parse(row)
    assert pair.prompt + chosen_of(pair) == prompt + chosen
    assert pair.prompt + rejected_of(pair) == prompt + rejected
    assert pair.prompt[: len(prompt)] == prompt


@given(LABELS)
def test_exchanging_the_responses_exchanges_what_the_source_prefers(
    labels: tuple[ParsedLabel, ...],
) -> None:
    preferred = source_preference(labels)
    turned = source_preference([other_way_round(each) for each in labels])
    assert turned == (OTHER_SIDE.get(preferred, preferred) if preferred else "")


@given(LABELS)
def test_what_the_source_prefers_does_not_depend_on_the_order_of_labels(
    labels: tuple[ParsedLabel, ...],
) -> None:
    assert source_preference(labels) == source_preference(tuple(reversed(labels)))


@given(exchanges(ends="user"), TURN_TEXT, TURN_TEXT)
def test_the_digest_is_the_same_whichever_way_round_the_responses_stand(
    prompt: list[Message], first: str, second: str
) -> None:
    one = ParsedPair("", prompt, [assistant(first)], [assistant(second)], ())
    other = ParsedPair("x", prompt, [assistant(second)], [assistant(first)], ())
    assert one.digest == other.digest
    assert one.group == other.group
    assert first == second or one.is_in_order != other.is_in_order


def test_the_digest_tells_prompts_and_responses_apart() -> None:
    pairs = [
        ParsedPair("", [user("p")], [assistant("x")], [assistant("y")], ()),
        ParsedPair("", [user("q")], [assistant("x")], [assistant("y")], ()),
        ParsedPair("", [user("p")], [assistant("x")], [assistant("z")], ()),
    ]
    assert len({pair.digest for pair in pairs}) == 3


@given(*[st.text("ab c\n", max_size=12)] * 3)
def test_the_implicit_prompt_of_texts_is_shared_by_both_and_tears_no_word(
    shared: str, rest: str, other_rest: str
) -> None:
    first, second = shared + rest, shared + other_rest
    end = trl.shared_words(first, second)
    assert first[:end] == second[:end]
    if end:
        assert all(part.strip() for part in (first[:end], first[end:], second[end:]))
        assert first[end - 1].isspace() or (first[end].isspace() and second[end].isspace())
