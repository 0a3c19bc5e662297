"""Texts of models are hostile: whatever they hold, the page shows text and loads nothing."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.rendering import LONGEST, to_html

PLAIN = "em strong s ul li pre blockquote hr br table thead tbody tr th td".split()  # noqa: SIM905
ALLOWED: dict[str, set[str]] = {
    "p": {"class"},
    "a": {"href", "rel", "target", "title"},
    "ol": {"start"},
    "code": {"class"},
    **{tag: set() for tag in PLAIN},
}


class Tags(HTMLParser):
    """Collects the tags of a piece of HTML with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags_of(text: str) -> list[tuple[str, dict[str, str | None]]]:
    html = to_html(text)
    assert html is not None
    tags = Tags()
    tags.feed(html)
    return tags.found


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** and *thin*", "<p><strong>bold</strong> and <em>thin</em></p>"),
        ("one\ntwo", "<p>one<br />\ntwo</p>"),
        ("# Title", '<p class="heading">Title</p>'),
        ("`x < y`", "<p><code>x &lt; y</code></p>"),
        ("```python\nprint(1)\n```", '<pre><code class="language-python">print(1)\n</code></pre>'),
        ("![a cat](https://elsewhere.example/cat.png)", "<p>a cat</p>"),
        ("2. second", '<ol start="2">\n<li>second</li>\n</ol>'),
    ],
)
def test_markdown_is_read(text: str, html: str) -> None:
    assert (to_html(text) or "").strip() == html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "<javascript:alert(1)>",
        "[x](JaVaScRiPt:alert(1))",
        "![x](javascript:alert(1))",
        '[x](https://a.example "onmouseover=alert(1)")',
        "[x]: javascript:alert(1)\n\n[x]",
        "|a|\n|:-:|\n|b|",
        "```<script>\nalert(1)\n```",
    ],
)
def test_nothing_of_it_runs_or_is_loaded(text: str) -> None:
    for tag, attributes in tags_of(text):
        assert tag in ALLOWED
        assert set(attributes) <= ALLOWED[tag]
        assert not (attributes.get("href") or "").lower().startswith(("javascript", "data"))


@given(st.text(alphabet=st.sampled_from("<>\"'&`*_[]()!#|-~:/\\ \nax1."), max_size=200))
def test_whatever_it_holds_only_allowed_tags_come_out(text: str) -> None:
    for tag, attributes in tags_of(text):
        assert tag in ALLOWED
        assert set(attributes) <= ALLOWED[tag]


@given(st.text(alphabet="abcdefgh ", max_size=100))
def test_plain_words_come_out_as_they_are(text: str) -> None:
    html = to_html(text) or ""
    assert re.sub(r"<[^>]+>", "", html).split() == text.split()


def test_a_text_that_is_too_long_is_left_as_it_is() -> None:
    assert to_html("x" * (LONGEST + 1)) is None
