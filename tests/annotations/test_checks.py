"""What a pair's texts tell is seen in every spelling, and not seen where it is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations import checks
from annotations.checks import NAMES, OF_GROUP, SHOWN, Check, of_pair

Messages = list[dict[str, str]]
PROMPT: Messages = [{"role": "user", "content": "Which bird sings at night?"}]
GOOD = "The nightingale sings at night, most of all in spring."
LONG = 1_000_000
TEXTS = st.text(max_size=80) | st.lists(
    st.sampled_from(
        ["I'm ", "Claude", " by ", "OpenAI", "sorry", " I can't ", "help", "```", "\n", ". ", "’"]
    ),
    max_size=30,
).map("".join)


def said(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]


def found(first: str, second: str = GOOD) -> Check:
    return of_pair(PROMPT, said(first), said(second))


def test_good_responses_have_nothing_to_show() -> None:
    assert found("Nightingales do.") == Check(0)


def test_copies_are_identical_up_to_white_space() -> None:
    assert found("The bird \n\n sings.", " The  bird sings.\n") == Check.IDENTICAL
    assert Check.IDENTICAL not in found("The bird sings.", "the bird sings.")


def test_the_same_words_in_other_turns_are_not_identical() -> None:
    turns = [*said("Yes."), {"role": "user", "content": "Sure?"}, *said("Yes.")]
    assert Check.IDENTICAL not in of_pair(PROMPT, said("Yes."), turns)


@pytest.mark.parametrize("blank", ["", " \n\t", "\u3000"])
def test_a_response_without_text_is_empty_and_nothing_else(blank: str) -> None:
    assert found(blank) == Check.EMPTY


def test_a_response_that_is_silent_in_its_last_turn_is_empty() -> None:
    turns = [*said("Yes."), {"role": "user", "content": "Sure?"}, *said(" ")]
    assert Check.EMPTY in of_pair(PROMPT, turns, said(GOOD))


def test_no_response_at_all_is_empty() -> None:
    assert of_pair(PROMPT, [], said(GOOD)) == Check.EMPTY


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("You're welcome!", "You're welcome!  Ask again."),
        ("Nightingales", "Nightingales, of course."),
        ("The most famous singers of the night are nighting", ""),
    ],
)
def test_the_beginning_of_the_other_response_is_a_prefix(short: str, long: str) -> None:
    long = long or f"{short}ales."
    assert Check.PREFIX in found(short, long)
    assert Check.PREFIX in found(long, short)


def test_a_few_letters_that_both_begin_with_are_no_prefix() -> None:
    assert Check.PREFIX not in found("No", "Nobody knows.")


CUT_SHORT = [
    "Many birds sing by day.  A few of them sing by night too, because it is quiet then and their "
    "songs carry over a long",
    "They sing for three reasons:\n\n1. To find a mate.\n2. To keep others away.\n3.",
    "It sings at night, since then there is no noise of the",
    "Of the birds that sing at night the nightingale is known best,",
    "Here it is:\n\n```python\ndef sing(bird):\n    return",
]


@pytest.mark.parametrize("text", CUT_SHORT)
def test_a_response_that_stops_in_the_middle_is_cut_off(text: str) -> None:
    assert found(text) == Check.CUT_OFF
    assert of_pair(PROMPT, said(GOOD), said(text)) == Check.CUT_OFF


@pytest.mark.parametrize(
    "text",
    [
        "Nightingale",
        "Birds of the night:\n- nightingale\n- robin\n- mockingbird",
        "Read about it here.  There is a page with every bird and its song, and you can listen to "
        "it: https://example.org/birds",
        "Here it is:\n\n```python\nprint('bird')\n```",
        '[{"bird": "robin"}]\n```',
        "So proud to have heard it at last!  Many thanks to everybody who came along and sat still "
        "for hours. #birds #night",
        "It is the nightingale. (Others do so in towns.)",
        "**It is the nightingale.**",
        "夜莺在夜里唱歌。",
    ],
)
def test_a_response_that_ends_as_responses_do_is_not_cut_off(text: str) -> None:
    assert Check.CUT_OFF not in found(text)


def test_where_both_leave_out_their_last_full_stop_it_is_a_habit() -> None:
    assert Check.CUT_OFF not in found(CUT_SHORT[0], GOOD.rstrip("."))


@pytest.mark.parametrize(
    "text",
    [
        "**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**",
        "YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES. PLEASE TRY AGAIN.",
        "**API REQUEST ERROR** Reason: The response was blocked.",
        "Internal Server Error",
        "Error: 502 Bad Gateway",
        "openai.error.RateLimitError: Rate limit reached for default",
        "An error occurred while processing your request.",
        "Something went wrong. If this issue persists please contact us.",
        '{"error": {"message": "overloaded", "code": 529}}',
        "I’m sorry, but I can't answer you now because of a network error.",
        "We're sorry, the service cannot answer due to high demand.",
    ],
)
def test_an_error_in_the_place_of_an_answer_is_found(text: str) -> None:
    assert Check.API_ERROR in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Status 500 means “Internal Server Error”: something broke on the server.",
        "Errors happen. Nightingales make few.",
        "Internal server error is what the status 500 stands for. " + "It has many causes. " * 40,
        "I'm sorry to hear that. Networks of birds are hard to study.",
    ],
)
def test_an_answer_about_errors_is_none(text: str) -> None:
    assert Check.API_ERROR not in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model trained by OpenAI, I have heard no bird.",
        "I'm ChatGPT, and I like birds.",
        "Hello! I’m Claude, an AI assistant made by Anthropic.",
        "I am an AI assistant called Vicuna.",
        "I am a large language model, trained by a team of researchers at Google.",
        "My name is Bard. Birds are fine.",
        "As ChatGPT, I cannot hear.",
        "I was created by Anthropic to be helpful.",
        "My creators at OpenAI never told me.",
        "我是ChatGPT，一个语言模型。",
        "我是由OpenAI训练的语言模型。",
        "Soy ChatGPT.",
    ],
)
def test_a_model_that_names_itself_or_its_maker_is_found(text: str) -> None:
    assert Check.IDENTITY in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I have heard no bird.",
        "ChatGPT is a language model trained by OpenAI.",
        "You could ask Claude or Bard.",
        "“I'm Claude,” said the painter, and Claude it was.",
        "I'm Claude Monet's biggest admirer.",
        "As Google grew, so did its maps of birds.",
        "I am a model of patience. Google it.",
        "I'm sure that Microsoft was founded by Bill Gates.",
        "I am an engineer, and I like what OpenAI does.",
    ],
)
def test_to_speak_of_other_models_and_makers_is_allowed(text: str) -> None:
    assert Check.IDENTITY not in found(text)


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t help with that.",
    "Sorry, I cannot do this for you.",
    "As an AI language model, I cannot provide the address.",
    "I won't answer that question.",
    "I'm not able to give any advice on birds.",
    "I must decline.",
    "I'm afraid I can’t speak to that.",
    "抱歉，我无法回答这个问题。",
    "Lo siento, pero no puedo ayudar con eso.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_one_response_that_declines_is_a_refusal(text: str) -> None:
    assert Check.REFUSAL in found(text)


@pytest.mark.parametrize("other", [REFUSALS[2], "I’m not equipped to speak of birds.", "Sorry?"])
def test_beside_a_response_that_regrets_a_refusal_is_none(other: str) -> None:
    assert Check.REFUSAL not in found(REFUSALS[0], other)


@pytest.mark.parametrize(
    "text",
    [
        "I couldn't help but smile: it sings at night.",
        "I can't help but admire it.",
        "I can't wait to hear it.",
        "I'm sorry, I can't understand your question.",
        "I'm sorry, but I cannot agree.",
        "I'm sorry, I won't keep you any longer.",
        "I don't think that's right.",
        GOOD + " It is easy to find. " * 20 + "I can't help you with more.",
    ],
)
def test_regret_and_disagreement_are_no_refusal(text: str) -> None:
    assert Check.REFUSAL not in found(text)


@given(TEXTS, TEXTS)
def test_the_order_of_the_responses_does_not_matter(first: str, second: str) -> None:
    assert found(first, second) == found(second, first)


@given(TEXTS)
def test_a_response_beside_itself_is_identical_and_neither_prefix_nor_refusal(text: str) -> None:
    checks_found = found(text, text)
    assert Check.IDENTICAL in checks_found
    assert not checks_found & (Check.PREFIX | Check.REFUSAL)


@given(TEXTS, TEXTS)
def test_a_pair_alone_is_never_told_what_only_its_group_can_tell(first: str, second: str) -> None:
    assert not found(first, second) & OF_GROUP


HOSTILE = [
    "a",
    " ",
    "\n",
    ". ",
    "’",
    "I'm ",
    "I am an AI ",
    "AI by ",
    "As an AI model by the team of OpenA ",
    "Claude ",
    "OpenAI by ",
    "由OpenAI",
    "```\n",
    "   ```",
    "1. ",
    "a. A",
    "error: ",
    "sorry",
    "sorry, as an a ",
    "i can't a ",
    "\u0130",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_megabytes_of_hostile_text_are_read_in_time_linear_in_their_length(piece: str) -> None:
    """A pattern that went back over what it had read would not come to an end."""
    text = piece * (LONG // len(piece))
    assert found(text, text[: LONG // 2] + "x") & OF_GROUP == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(HOSTILE), min_size=1, max_size=6).map("".join))
def test_no_mixture_of_hostile_pieces_takes_long(piece: str) -> None:
    assert found(piece * (100_000 // len(piece)), GOOD) & OF_GROUP == 0


def test_every_check_is_shown_and_keeps_its_number() -> None:
    first = ["identical", "empty", "prefix", "cut_off", "api_error", "identity", "refusal"]
    stored = {shown.name: int(check) for check, shown in SHOWN.items()}
    numbered = enumerate([*first, "contradicted", "cycle"])
    assert stored == {name: 1 << bit for bit, name in numbered}
    assert set(SHOWN) == set(Check)
    assert all(shown.explanation.endswith(".") for shown in SHOWN.values())


@given(st.sets(st.sampled_from(sorted(NAMES))))
def test_a_stored_number_gives_back_the_names(names: set[str]) -> None:
    number = sum(int(NAMES[name]) for name in names)
    assert set(checks.names_of(number)) == names


def test_titles_are_words() -> None:
    titles = [SHOWN[check].title for check in (Check.API_ERROR, Check.CUT_OFF)]
    assert titles == ["API error", "Cut off"]
