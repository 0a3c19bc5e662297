"""Texts of models as people read them: Markdown to HTML by an allow-list, nothing loaded from
elsewhere.

Raw HTML stays text, images become their descriptions, only http, https and mailto links are links,
and formulas become MathML. Characters that turn the direction of writing are shown instead of
obeyed: they can make a text read otherwise than it is written.
"""

import html
import re
from collections.abc import MutableMapping
from functools import cache
from typing import Any
from unicodedata import bidirectional, category

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from annotations.formulas import to_mathml

LONGEST = 50_000  # characters; a longer text is shown as it is
MOST_SIGNS = 5000  # of those whose pairing takes the parser long
MOST_MARKS = 1000  # spelt out, of the characters that turn the direction
MOST_FORMULAS = 300  # of one text; what follows stays as it is written
SAFE_LINKS = ("http://", "https://", "mailto:")
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
SHOWN = {ord(mark): f"⟦U+{ord(mark):04X}⟧" for mark in TURNING}
UNWRITTEN = ("Cc", "Cs", "Zl", "Zp")  # controls, halves of characters, ends of lines
NOT_PLAIN = (
    "The name holds characters that are not seen, such as those that turn the direction of "
    "writing: type it anew."
)
TURNED = re.compile(f"[{TURNING}]")

# A formula between single dollars: no space inside its dollars, no letter or digit after them
INLINE = (
    re.compile(r"\$\$(?P<latex>(?:[^$\\]|\\[\s\S]){1,2000}?)\$\$"),
    re.compile(r"\$(?![\s$])(?P<latex>(?:[^$\\]|\\[\s\S]){1,2000}?)(?<![\s\\])\$(?![\w$])"),
    re.compile(r"\\\((?P<latex>(?:[^\\]|\\[^()\[\]]){1,2000}?)\\\)"),
    re.compile(r"\\\[(?P<latex>(?:[^\\]|\\[^()\[\]]){1,2000}?)\\\]"),
)
CLOSINGS = {"$$": "$$", "\\[": "\\]"}
COMMAND = re.compile(r"\\(?:text|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+")
WORD = re.compile(r"[^\W\d_]{2,}")
MOST_LINES = 100  # of one formula


def to_html(text: str) -> str | None:
    """The text as safe HTML, or None where it is too long for that, or made to take long."""
    if len(text) > LONGEST or sum(map(text.count, "[*_")) > MOST_SIGNS:
        return None
    return str(_parser().render(plainly(text)))


def as_written(text: str) -> str:
    """The text as it stands, as HTML. Each character of it is one character of the page, but for
    those that are shown as marks of the class `mark-of`."""
    escaped = html.escape(text).replace("\r", "&#13;")  # a browser would join it with the next
    return TURNED.sub("\ufffd", TURNED.sub(_mark, escaped, count=MOST_MARKS))


def plainly(text: str) -> str:
    """The text with signs in place of the characters that turn its direction."""
    return text.translate(SHOWN)


def is_plain_name(name: str) -> bool:
    """Whether a name may be taken as it is typed: on one line, and without characters that would
    turn the words around it. Others that leave no ink have their use in Persian and in emoji."""
    return not any(mark in SHOWN or category(chr(mark)) in UNWRITTEN for mark in map(ord, name))


def runs_left(text: str) -> bool:
    """Whether some of its letters run from right to left."""
    return any(bidirectional(letter) in ("R", "AL", "AN") for letter in text)


def _mark(turning: re.Match[str]) -> str:
    return f'<span class="mark-of">{plainly(turning[0])}</span>'


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": False})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = lambda url: url.lower().startswith(SAFE_LINKS)  # type: ignore[method-assign]
    parser.inline.ruler.before("escape", "formula", _find_formula)
    terminated: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    parser.block.ruler.before("fence", "formula", _find_formula_block, terminated)
    parser.add_render_rule("formula", _formula)
    parser.add_render_rule("formula_block", _formula)
    parser.add_render_rule("image", _description)
    parser.add_render_rule("link_open", _link)
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("heading_close", _heading)
    for rule in ("th_open", "td_open"):
        parser.add_render_rule(rule, _cell)
    return parser


def _find_formula(state: StateInline, silent: bool) -> bool:
    """A formula within a line of text: $…$, $$…$$, \\(…\\) or \\[…\\]."""
    if state.src[state.pos] not in "$\\":
        return False
    found = next(filter(None, (form.match(state.src, state.pos) for form in INLINE)), None)
    if found is None or (found[0][0] == "$" and not _is_mathematics(state, found)):
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content = found["latex"]
        token.markup = found[0][: found.start("latex") - found.start()]
    state.pos = found.end()
    return True


def _is_mathematics(state: StateInline, found: re.Match[str]) -> bool:
    """Whether dollars stand for a formula rather than for money or a variable of a shell."""
    before = state.src[state.pos - 1] if state.pos else " "
    starts_as_money = found["latex"][0].isdigit()
    has_words = WORD.search(COMMAND.sub("", found["latex"])) is not None
    return not (before.isalnum() or (starts_as_money and has_words))


def _find_formula_block(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """A formula on lines of its own, between $$ and $$ or between \\[ and \\]."""
    opening = _line(state, first)[:2]
    if opening not in CLOSINGS or state.is_code_block(first):
        return False
    last = _closing_line(state, first, end, opening)
    if last is None:
        return False
    if silent:
        return True
    lines = [_line(state, number) for number in range(first, last + 1)]
    token = state.push("formula_block", "math", 0)
    token.block, token.map, token.markup = True, [first, last + 1], opening
    token.content = "\n".join(lines).strip()[2:-2]
    state.line = last + 1
    return True


def _closing_line(state: StateBlock, first: int, end: int, opening: str) -> int | None:
    """The line that ends with what closes the formula; none after a blank line, or another
    opening."""
    for number in range(first, min(end, first + MOST_LINES)):
        line = _line(state, number).rstrip()
        if number > first and (not line or state.sCount[number] < state.blkIndent):
            return None
        inner = line[2:] if number == first else line
        if inner.endswith(CLOSINGS[opening]):
            return None if opening in inner[:-2] else number
        if opening in inner:
            return None
    return None


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _formula(
    renderer: RendererHTML,
    tokens: list[Token],
    index: int,
    options: Any,
    environment: MutableMapping[str, Any],
) -> str:
    """MathML; the formula as it was written where it cannot be read, or after very many."""
    token = tokens[index]
    is_display = token.markup in CLOSINGS
    environment["formulas"] = environment.get("formulas", 0) + 1
    shown = None
    if environment["formulas"] <= MOST_FORMULAS:
        shown = to_mathml(token.content.strip(), is_display=is_display)
    if shown is None:
        closing = {"$": "$", "\\(": "\\)", **CLOSINGS}[token.markup]
        shown = html.escape(f"{token.markup}{token.content}{closing}")
    return f"<p>{shown}</p>\n" if token.block else shown


def _description(
    renderer: RendererHTML, tokens: list[Token], index: int, options: Any, environment: Any
) -> str:
    return str(renderer.renderInlineAsText(tokens[index].children or [], options, environment))


def _link(
    renderer: RendererHTML, tokens: list[Token], index: int, options: Any, environment: Any
) -> str:
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    tokens[index].attrSet("target", "_blank")
    return str(renderer.renderToken(tokens, index, options, environment))


def _heading(
    renderer: RendererHTML, tokens: list[Token], index: int, options: Any, environment: Any
) -> str:
    """A heading of the text is none of the page's outline."""
    return '<p class="heading">' if tokens[index].nesting > 0 else "</p>\n"


def _cell(
    renderer: RendererHTML, tokens: list[Token], index: int, options: Any, environment: Any
) -> str:
    """Without the inline style of its alignment, which the page's policy forbids."""
    return f"<{tokens[index].tag}>"
