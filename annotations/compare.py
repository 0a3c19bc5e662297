"""Where two responses differ: words marked as shared or not, where marking helps the eye."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from operator import itemgetter

WORD = re.compile(r"\s+|\w+|[^\w\s]")
# matching costs up to the square of this; longer texts are only trimmed at both ends
MOST_WORDS = 3000
LEAST_ALIKE = 0.3  # of the words; below it nearly everything would be marked


@dataclass(frozen=True)
class Segment:
    """A stretch of a response; `differs` when the other one lacks it."""

    text: str
    differs: bool


def word_diff(first: str, second: str) -> tuple[list[Segment], list[Segment]] | None:
    """The segments of both texts, or None where they have too little in common for marks to
    help."""
    words, others = WORD.findall(first), WORD.findall(second)
    start = _shared(words, others)
    end = _shared(words[start:][::-1], others[start:][::-1])
    middle, other_middle = words[start : len(words) - end], others[start : len(others) - end]
    if max(len(middle), len(other_middle)) > MOST_WORDS:
        blocks, alike = [(len(middle), len(other_middle), 0)], 0
    else:
        matcher = SequenceMatcher(None, middle, other_middle, autojunk=False)
        blocks = list(matcher.get_matching_blocks())
        alike = sum(size for _, _, size in blocks)
    if 2 * (start + end + alike) < LEAST_ALIKE * (len(words) + len(others)):
        return None
    shared_first = [*range(start), *(start + i + k for i, _, size in blocks for k in range(size))]
    shared_second = [*range(start), *(start + j + k for _, j, size in blocks for k in range(size))]
    return (
        _segments(words, {*shared_first, *range(len(words) - end, len(words))}),
        _segments(others, {*shared_second, *range(len(others) - end, len(others))}),
    )


def _shared(words: list[str], others: list[str]) -> int:
    count = 0
    for word, other in zip(words, others, strict=False):
        if word != other:
            break
        count += 1
    return count


def _segments(words: list[str], shared: set[int]) -> list[Segment]:
    """Neighbouring words of one kind, joined; white space between two marked words is marked
    with them."""
    marked = [_differs(words, position, shared) for position in range(len(words))]
    runs = groupby(zip(marked, words, strict=True), key=itemgetter(0))
    return [Segment("".join(word for _, word in run), differs) for differs, run in runs]


def _differs(words: list[str], position: int, shared: set[int]) -> bool:
    if position not in shared:
        return True
    is_between = 0 < position < len(words) - 1 and {position - 1, position + 1}.isdisjoint(shared)
    return is_between and words[position].isspace()
