"""Text as the search reads it: words in small letters, alike on both databases."""

import re
from collections.abc import Sequence

# scripts written without spaces: each sign is a word of its own, and a run of them a phrase
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
QUOTED = re.compile(r'(-?)"([^"]*)"|(\S+)')
LONGEST_WORD = 200
MOST_CHARACTERS = 200_000  # of a pair that are read
MOST_TERMS = 20

Term = tuple[bool, tuple[str, ...]]


def words_of(text: str) -> str:
    """The words of the text in small letters, with single spaces between them."""
    found = WORD.findall(text[:MOST_CHARACTERS].casefold())
    return " ".join(word[:LONGEST_WORD] for word in found)


def terms_of(query: str) -> Sequence[Term]:
    """What the user looks for: phrases of one or more words, each wanted (True) or not. Quotation
    marks hold a phrase together, a minus before it means without."""
    terms: list[Term] = []
    for minus, phrase, single in QUOTED.findall(query):
        unwanted = minus == "-" or (len(single) > 1 and single.startswith("-"))
        words = tuple(word[:LONGEST_WORD] for word in WORD.findall((phrase or single).casefold()))
        if words:
            terms.append((not unwanted, words))
    return terms[:MOST_TERMS]
