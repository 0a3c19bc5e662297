"""Texts of models as people read them: Markdown to HTML by an allow-list, nothing loaded from
elsewhere.

Raw HTML stays text, images become their descriptions, and only http, https and mailto links are
links.
"""

from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

LONGEST = 100_000  # characters; a longer text is shown as it is
SAFE_LINKS = ("http://", "https://", "mailto:")


def to_html(text: str) -> str | None:
    """The text as safe HTML, or None where it is too long for that."""
    return str(_parser().render(text)) if len(text) <= LONGEST else None


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": False})
    parser.enable(["table", "strikethrough"])
    parser.validateLink = lambda url: url.lower().startswith(SAFE_LINKS)  # type: ignore[method-assign]
    parser.add_render_rule("image", _description)
    parser.add_render_rule("link_open", _link)
    parser.add_render_rule("heading_open", _heading)
    parser.add_render_rule("heading_close", _heading)
    for rule in ("th_open", "td_open"):
        parser.add_render_rule(rule, _cell)
    return parser


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
