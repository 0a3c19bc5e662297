"""What can be seen wrong with a pair from its texts alone: broken, copied or unfinished responses,
and models that name themselves.

The checks of a pair are one number, a bit each, and the bits are stored: never give one another
meaning. Bits of `OF_GROUP` come from a pair's neighbours (`annotations.contradictions`), all others
from `of_pair`. Nobody vouches for the texts, so every pattern takes time linear in their length.
"""

import re
from collections.abc import Mapping, Sequence
from enum import IntFlag
from typing import Any, NamedTuple

Messages = Sequence[Mapping[str, Any]]


class Check(IntFlag):
    """What a check found; a sum of them is what all checks found of one pair."""

    IDENTICAL = 1
    EMPTY = 2
    PREFIX = 4
    CUT_OFF = 8
    API_ERROR = 16
    IDENTITY = 32
    REFUSAL = 64
    CONTRADICTED = 128
    CYCLE = 256


class Shown(NamedTuple):
    """How a check is called in policies and addresses, and what it tells a reader."""

    name: str
    explanation: str
    matters: str  # why it should be looked at

    @property
    def title(self) -> str:
        """The name as a heading writes it."""
        words = self.name.replace("_", " ").replace("api", "API")
        return words[0].upper() + words[1:]


SHOWN: dict[Check, Shown] = {
    Check.IDENTICAL: Shown(
        "identical",
        "Both responses say the same, up to white space, so no label can be right.",
        "A model that trains on them learns noise: drop them or make them ties.",
    ),
    Check.EMPTY: Shown(
        "empty",
        "A response ends in a message without text.",
        "The answer was lost on the way, so the label says nothing of its quality.",
    ),
    Check.PREFIX: Shown(
        "prefix",
        "One response is the beginning of the other.",
        "The label compares lengths, not answers: a model learns to go on, or to stop.",
    ),
    Check.CUT_OFF: Shown(
        "cut_off",
        "A response stops in the middle: in a sentence, where the other finishes its last one, or "
        "in a block of code.",
        "A limit on length ended it, so the label may punish the limit and not the answer.",
    ),
    Check.API_ERROR: Shown(
        "api_error",
        "A response is the error message of a service, not a model's answer.",
        "The other response wins whatever it says, which teaches nothing about quality.",
    ),
    Check.IDENTITY: Shown(
        "identity",
        "A response says which model wrote it or who made that model.",
        "What is trained on it will call itself by that name, and judges may favour their own.",
    ),
    Check.REFUSAL: Shown(
        "refusal",
        "One response declines to answer and the other does not.",
        "Here the label is about what may be answered: look whether it follows your guidelines.",
    ),
    Check.CONTRADICTED: Shown(
        "contradicted",
        "The same two responses to the same prompt also stand in the dataset with the opposite "
        "label.",
        "One of the two labels is wrong, and together they cancel out in training.",
    ),
    Check.CYCLE: Shown(
        "cycle",
        "Labels of this prompt go round in a circle: A beats B, B beats C, C beats A.",
        "No ranking fits all of them, so at least one of these labels is wrong.",
    ),
}
NAMES: dict[str, Check] = {shown.name: check for check, shown in SHOWN.items()}
OF_GROUP = Check.CONTRADICTED | Check.CYCLE
NONE = Check(0)


def of_pair(prompt: Messages, response_a: Messages, response_b: Messages) -> Check:
    """Everything that a pair's own texts tell; responses are lists of chat messages.

    The prompt is not read by any check so far; it belongs to the question.
    """
    del prompt
    ends = (_end(response_a), _end(response_b))
    found = _of_likeness(response_a, response_b)
    if not (ends[0] and ends[1]):
        found |= Check.EMPTY
    if is_cut_off(*ends) or is_cut_off(*ends[::-1]):
        found |= Check.CUT_OFF
    if any(is_error(end) for end in ends):
        found |= Check.API_ERROR
    if any(names_itself(text) for text in (*_said(response_a), *_said(response_b))):
        found |= Check.IDENTITY
    if _refuses_alone(*ends) or _refuses_alone(*ends[::-1]):
        found |= Check.REFUSAL
    return found


def names_of(checks: int) -> list[str]:
    """The names of the checks in a stored number, in the order of their bits."""
    return [shown.name for check, shown in SHOWN.items() if check & checks]


def _end(response: Messages) -> str:
    """What the response's last message says."""
    return response[-1]["content"].strip() if response else ""


def _said(response: Messages) -> list[str]:
    return [message["content"] for message in response if message["role"] == "assistant"]


# Likeness

SHORTEST_HALF_WORD = 20  # a shorter beginning that ends within a word is chance: "No", "Nobody"


def _of_likeness(response_a: Messages, response_b: Messages) -> Check:
    short, long = sorted((_collapsed(response_a), _collapsed(response_b)), key=len)
    if short == long:
        return Check.IDENTICAL
    if not short or not long.startswith(short):
        return NONE
    ends_within_word = short[-1].isalnum() and long[len(short)].isalnum()
    return NONE if ends_within_word and len(short) < SHORTEST_HALF_WORD else Check.PREFIX


def _collapsed(response: Messages) -> str:
    """All turns, with their roles, each run of white space a single space."""
    first = f"{response[0]['role']} " if response and response[0]["role"] != "assistant" else ""
    turns = [" ".join(message["content"].split()) for message in response]
    return first + " ".join(turns)


# Cut off

FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
CLOSERS = "\"'”’»`*_)]}〉》」』）】 "
TERMINALS = ".!?…。！？؟।"
OPENERS = ",([{“‘「（、，"
LIST_MARKER = re.compile(r"\s*(?:\d{1,3}[.)]|[-*•–])(?:\s+|$)")
SENTENCE_END = re.compile(r"[a-z)”\"'’][.!?][)”\"'’]? +[A-Z“\"]|[。！？]")
# no sentence ends with one of these, whatever the style
DANGLING = frozenset(
    {"the", "a", "an", "and", "or", "of", "your", "our", "their", "than", "because"}
)
LONGEST_TAIL = 2000
LEAST_TAIL = 80  # of a last line in sentences; shorter ones are headings, names and lyrics


def is_cut_off(text: str, other: str) -> bool:
    """Whether the text stops in the middle: within a block of code, or within a sentence where the
    other response's last sentence is finished."""
    if _is_fence_open(text):
        return True
    return _is_finished(other) and _is_unfinished(text)


def _is_fence_open(text: str) -> bool:
    """Whether a block of code has no end; a fence that ends the text lacks its beginning."""
    if "```" not in text and "~~~" not in text:
        return False
    return len(FENCE.findall(text)) % 2 == 1 and not text.endswith(("```", "~~~"))


def _is_finished(text: str) -> bool:
    return text.rstrip(CLOSERS)[-1:] in TERMINALS and bool(text)


def _is_unfinished(text: str) -> bool:
    start, _, line = text[-LONGEST_TAIL:].rpartition("\n")
    marker = LIST_MARKER.match(line)
    tail = line[marker.end() :] if marker else line
    if not tail:
        return bool(start)
    if tail[-1] in OPENERS:
        return True
    if not tail[-1].isalnum():
        return False
    *_, word = tail.rsplit(maxsplit=1)
    if word.startswith("#") or "://" in word:
        return False
    return word.lower() in DANGLING or (len(tail) >= LEAST_TAIL and bool(SENTENCE_END.search(tail)))


# Error messages

# no model writes these: FastChat and its relatives do, in the place of an answer
SERVED = (
    "NETWORK ERROR DUE TO HIGH TRAFFIC",
    "YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES",
    "API REQUEST ERROR",
    "$MODERATION$",
)
# a whole answer that starts so is an error; within an answer the same words may explain one
STARTS = re.compile(
    r"[\W_]{0,10}(?:[\w.]{0,40}(?:error|exception)\s{0,3}:\s{0,3})?(?:"
    r"(?:http )?(?:error )?(?:code:? )?(?:429|500|502|503|504)\W{0,5}"
    r"(?:internal server error|bad gateway|service unavailable|gateway time-?out"
    r"|too many requests|rate limit|\{)"
    r"|internal server error|bad gateway|service (?:is )?(?:temporarily )?unavailable"
    r"|gateway time-?out|too many requests|rate limit (?:exceeded|reached)"
    r"|request timed out|connection (?:error|timed out|aborted|reset)"
    r"|an (?:unexpected |internal )?error (?:has )?occurred"
    r"|(?:there was|we encountered|we had) an error (?:generating|while|processing|with)"
    r"|the server (?:had an error|is (?:currently )?overloaded)"
    r"|(?:that|the) model is currently overloaded|you exceeded your current quota"
    r"|this model's maximum context length|something went wrong"
    r"|the response was (?:blocked|filtered)|content[ _]filter(?:ed)?\b"
    r"|\"?(?:error|message)\"?\s{0,3}:\s{0,3}\{\s{0,9}\"(?:message|code|type)\""
    r"|(?:i'm |i am |we're |we are )?(?:sorry|apologi[sz]e)[^.!?\n]{0,80}?"
    r"(?:network (?:error|issue|problem)|server error|technical (?:error|difficult|issue)"
    r"|due to (?:high|heavy) (?:traffic|demand|load))"
    r")"
)
LONGEST_ERROR = 600


def is_error(text: str) -> bool:
    """Whether the text is what a failing service puts in the place of an answer."""
    if len(text) <= LONGEST_ERROR and STARTS.match(_plain(text)):
        return True
    return any(words in text for words in SERVED)


def _plain(text: str) -> str:
    """In small letters, with a typewriter's apostrophe."""
    return text.lower().replace("’", "'")


# Identity

MODELS = (
    *("ChatGPT", "GPT-2", "GPT-3", "GPT-4", "GPT-5", "GPT3", "GPT4", "Claude", "Bard", "Gemini"),
    *("Vicuna", "Koala", "Alpaca", "Dolly", "LLaMA", "LLaMa", "Llama", "PaLM", "LaMDA", "ChatGLM"),
    *("Open Assistant", "OpenAssistant", "StableLM", "Guanaco", "Wizard", "Mistral", "Mixtral"),
    *("Zephyr", "Falcon", "BLOOM", "Qwen", "Tongyi", "ERNIE", "DeepSeek", "Grok", "Bing", "Tulu"),
    *("Copilot", "Tülu", "MPT", "FastChat", "InternLM", "Baichuan", "MOSS", "Pythia", "RWKV"),
    *("文心一言", "通义千问", "星火"),
)
MAKERS = (
    *("OpenAI", "Open AI", "Anthropic", "Google", "DeepMind", "Meta AI", "Facebook", "Microsoft"),
    *("LMSYS", "Large Model Systems", "LAION", "Alibaba", "Baidu", "Tencent", "Tsinghua", "Zhipu"),
    *("Stability AI", "Hugging Face", "HuggingFace", "Databricks", "Mistral AI", "Nomic", "Cohere"),
    *("Allen Institute", "AI2", "xAI", "DeepSeek", "Berkeley", "BigScience", "EleutherAI"),
    *("MosaicML", "Moonshot", "NVIDIA", "Yandex", "Technology Innovation Institute", "01.AI"),
    *("Character.AI", "百度", "阿里", "清华", "谷歌", "智谱"),
)
ANY_MODEL, ANY_MAKER = ("|".join(map(re.escape, names)) for names in (MODELS, MAKERS))
MAKER = re.compile(ANY_MAKER)
# what speaks of itself, to the end of the clause; not what somebody in a story says
OF_ITSELF = re.compile(
    r"(?<![\"“‘'\w])(?:(?:[Ii] am|[Ii]'m|I was|I have been|I've been|[Aa]s an?|[Aa]s the|[Cc]all me"
    r"|[Mm]y name is|[Mm]y (?:creators?|developers?|makers?|training))\b|As (?=[A-Z]))"
    r"[^.!?\n]{0,200}"
)
OF_AI = (
    r"(?:AI|artificial|intelligence|large|language|model|computer|program|assistant|chat ?bot|bot"
    r"|virtual|conversational|helpful|open|source|called|named|known|based|on|as|just|actually"
    r"|only|version|of|by)"
)
IS_MODEL = re.compile(
    r"(?:[Ii] am|[Ii]'m|[Aa]s|[Cc]all me|[Mm]y name is)(?: (?:an?|the|your))?"
    rf"(?:,? {OF_AI}\b,?){{0,12}} \"?(?:{ANY_MODEL})(?![\w']| [A-Z][a-z])(.?)"
)
IS_MADE = re.compile(
    r"\b(?:AI|artificial intelligence|model|assistant|chat ?bot|bot|program)\b"
    r"|(?:I am|I'm|I was|been)(?: \w+)?"
    r" (?:trained|created|developed|made|built|designed|programmed)\b"
    r"|(?:creator|developer|maker)s?\b|[Mm]y training"
)
BY = frozenset({"by", "from", "at"})
MOST_WORDS_BETWEEN = 6  # "by a team of researchers at Google"
ELSEWHERE = re.compile(
    r"(?:我是|我叫|我的名字是|私は|저는|\b(?:[Ss]oy|[Jj]e suis|[Jj]e m'appelle|[Ii]ch bin|[Ss]ou))"
    rf" ?(?:el |le |o |um |un |eine? )?(?:{ANY_MODEL})"
    rf"|由[^。\n]{{0,12}}(?:{ANY_MAKER})[^。\n]{{0,12}}(?:训练|开发|研发|创建|打造)"
)


def names_itself(text: str) -> bool:
    """Whether the text says of its own author which model it is or who made it."""
    if not any(name in text for name in MODELS) and not any(name in text for name in MAKERS):
        return False
    text = text.replace("’", "'")
    if ELSEWHERE.search(text):
        return True
    return any(_tells_identity(clause) for clause in OF_ITSELF.findall(text))


def _tells_identity(clause: str) -> bool:
    named = IS_MODEL.match(clause)
    # "As Google grew" speaks of another; "As ChatGPT, I" does not
    if named and (clause[:3].lower() != "as " or named[1] == ","):
        return True
    maker = MAKER.search(clause)
    if maker is None:
        return False
    before = clause[: maker.start()]
    words = before.lower().split()[-MOST_WORDS_BETWEEN:]
    return not BY.isdisjoint(words) and bool(IS_MADE.search(before))


# Refusals

HEAD = 250  # refusals come first; later ones stand beside help
NOT_WILLING = (
    r"(?:can't|cannot|can not|won't|will not|shouldn't|should not"
    r"|(?:'m| am) (?:not (?:able|going|allowed|willing|programmed)|unable) to"
    r"|(?:must|have to) decline to|refuse to|(?:'d| would) rather not|(?:don't|do not) want to)"
)
HELP = (
    r"(?:help(?! but\b)|assist|provide|answer|fulfill?|comply|create|write|generate|engage"
    r"|discuss|support|condone|offer|share|participate|recommend|encourage|respond|complete|promote|advise"
    r"|talk about|teach|explain|give (?:you )?(?:advice|any|instructions|that|this)"
    r"|tell you (?:how|that|where)|do (?:that|this|it)|be of"
    r"|be able to (?:help|assist|provide|answer|tell|give))"
)
# who says sorry for these has misunderstood, or disagrees
NOT_REFUSED = (
    r"(?:understand|follow|parse|agree|hear|see|remember|recall|believe|find|make|keep"
    r"|be (?:good|sure))"
)
REFUSES = re.compile(
    rf"\bi ?{NOT_WILLING} (?:\w+ )?{HELP}\b"
    r"|\b(?:sorry|afraid|apologi[sz]e),?(?: but)?(?: that)?,?(?: as an? [\w ]{1,40},)?"
    rf" i ?{NOT_WILLING}\b(?! (?:\w+ )?{NOT_REFUSED}\b)"
    r"|\bas an? (?:ai|artificial)[\w ]{0,40},?"
    r" i ?(?:can't|cannot|am not able|am unable|'m unable)\b"
    r"|\bi(?:'m| am) not comfortable\b|\bi (?:do not|don't) feel (?:comfortable|right)\b"
    r"|\bi (?:must|have to|need to) (?:respectfully )?decline\b"
    r"|\bi (?:do not|don't) think"
    r" (?:it's|it is|it would be|that's|that is|that would be|this is)"
    r" (?:very )?appropriate\b"
    r"|\bi (?:do not|don't) think i (?:can|should) (?:help|answer|tell|give|share|do)\b"
    r"|\b(?:not appropriate|inappropriate|unethical"
    r"|against my (?:programming|guidelines|principles))[\w ]{0,20} for me to\b"
    r"|(?:抱歉|对不起|很遗憾)[^。\n]{0,15}(?:无法|不能)"
    r"|(?:申し訳|すみません)[^。\n]{0,20}(?:できません|お答え)"
    r"|\blo siento,?(?: pero)? no puedo\b|\bdésolée?,?(?: mais)? je ne peux pas\b"
    r"|\btut mir leid,?(?: aber)? (?:ich kann|das kann ich)\b|\bdesculpe,?(?: mas)? não posso\b"
)
# found many times faster than the pattern; one of them is in whatever it matches
HINTS = (
    *("can't", "cannot", "can not", "won't", "will not", "shouldn't"),
    *("should not", "not able", "not going", "not allowed", "not willing", "not programmed"),
    *("unable", "decline", "refuse", "rather not", "not want", "n't want", "comfortable"),
    *("feel right", "n't think", "not think", "appropriate", "unethical", "against my", "no puedo"),
    *("ne peux pas", "leid", "não posso", "无法", "不能", "できません", "お答え"),
)


# who begins so half declines, and does not stand against a refusal
REGRETS = re.compile(
    r"\b(?:sorry|afraid|apologi[sz]e|inappropriate|not appropriate|not equipped|unethical"
    r"|i(?:'m| am) not"
    r"|i (?:can't|cannot|won't|will not|don't want|do not want|would not|wouldn't))\b"
    r"|抱歉|对不起|申し訳|すみません|\blo siento\b|\bdésolée?\b|\btut mir leid\b|\bdesculpe\b"
)
LONGEST_OPENING = 150


def _refuses_alone(text: str, other: str) -> bool:
    return refuses(text) and not REGRETS.search(_plain(other[:LONGEST_OPENING]))


def refuses(text: str) -> bool:
    """Whether the text begins by declining to answer."""
    head = _plain(text[:HEAD])
    return any(hint in head for hint in HINTS) and bool(REFUSES.search(head))
