"""Which key does what on the page where annotators label, by default and by each person's own
choice.

A key is one printable character. What a person has stored is checked again whenever it is read: it
may be older than the actions, and it is text wherever it is shown.
"""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

SEEN = frozenset("LNPS")  # categories of Unicode that leave ink: letters, numbers, signs


@dataclass(frozen=True)
class Action:
    """Something that one key does."""

    name: str
    default: str
    words: str
    group: str


ACTIONS = (
    Action("first", "1", "Response 1 is better", "Answer"),
    Action("second", "2", "Response 2 is better", "Answer"),
    Action("tie", "t", "Tie", "Answer"),
    Action("both_bad", "b", "Both are bad", "Answer"),
    Action("skip", "s", "Skip, then 1 to 5 for the reason", "Answer"),
    Action("undo", "u", "Undo the last answer", "Answer"),
    Action("slightly", "3", "Slightly better", "Detail"),
    Action("clearly", "4", "Clearly better", "Detail"),
    Action("much", "5", "Much better", "Detail"),
    Action("aspects", "a", "Aspects: then 1, 2 or tie for each", "Detail"),
    Action("rationale", "r", "Write the rationale", "Detail"),
    Action("comment", "c", "Comment for the curators", "Detail"),
    Action("sentence", "n", "Select the next sentence", "Marks"),
    Action("sentence_back", "p", "Select the sentence before", "Marks"),
    Action("good", "+", "Mark what is selected as good", "Marks"),
    Action("bad", "-", "Mark what is selected as bad", "Marks"),
    Action("raw", "m", "Formatted text, or as it stands", "View"),
    Action("differences", "w", "Show where the responses differ", "View"),
    Action("guidelines", "g", "Guidelines", "View"),
    Action("help", "?", "These keys", "View"),
)
DEFAULTS = {action.name: action.default for action in ACTIONS}


def keys_of(stored: object) -> dict[str, str]:
    """Every action's key: the person's own where it is one, else the default. All defaults where
    they would get in each other's way."""
    given = stored if isinstance(stored, Mapping) else {}
    own = {name: str(given[name]) for name in DEFAULTS if _is_key(given.get(name))}
    keys = {**DEFAULTS, **own}
    return keys if len(set(keys.values())) == len(keys) else dict(DEFAULTS)


def changes(keys: Mapping[str, str]) -> dict[str, str]:
    """What differs from the defaults: all that needs to be stored."""
    return {name: key for name, key in keys.items() if key != DEFAULTS[name]}


def normalised(key: str) -> str:
    """The key as the browser names it, whether or not a capital is meant."""
    return key if len(key.lower()) != 1 else key.lower()


def problems(keys: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with a choice of keys, a sentence for each action concerned."""
    found = {}
    counts = Counter(keys.values())
    for name, key in keys.items():
        if not _is_key(key):
            found[name] = "Give one letter, digit or sign."
        elif counts[key] > 1:
            others = [action.words for action in ACTIONS if keys.get(action.name) == key]
            found[name] = (
                f"This key stands twice: {' and '.join(f'“{words}”' for words in others)}."
            )
    return found


def _is_key(key: object) -> bool:
    return (
        isinstance(key, str)
        and len(key) == 1
        and unicodedata.category(key)[0] in SEEN
        and normalised(key) == key
    )
