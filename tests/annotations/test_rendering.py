"""Texts of models are hostile: whatever they hold, the page shows text and loads nothing."""

import html as html_library
import itertools
import re
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations import formulas
from annotations.rendering import (
    LONGEST,
    MOST_FORMULAS,
    MOST_MARKS,
    MOST_SIGNS,
    TURNING,
    as_written,
    is_plain_name,
    to_html,
)

PLAIN = "em strong s ul li pre blockquote hr br table thead tbody tr th td".split()  # noqa: SIM905
ALLOWED: dict[str, set[str]] = {
    "p": {"class"},
    "a": {"href", "rel", "target", "title"},
    "ol": {"start"},
    "code": {"class"},
    **{tag: set() for tag in PLAIN},
    **{tag: set(formulas.ALLOWED_ATTRIBUTES) for tag in formulas.ALLOWED},
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
        "$\\text{<script>alert(1)</script>}$",
        "$\\text{&lt;script&gt;alert(1)}$",
        "$\\href{javascript:alert(1)}{x}$",
        "$$\\style{background:url(https://elsewhere.example)}{x}$$",
        "\\(\\color{red}{x} \\textcolor{white}{y}\\)",
        "\\[\\class{notice}{x} \\cssId{main}{y}\\]",
        '$x"onmouseover="alert(1)$',
        "$<img src=x onerror=alert(1)>$",
    ],
)
def test_nothing_of_it_runs_or_is_loaded(text: str) -> None:
    for tag, attributes in tags_of(text):
        assert tag in ALLOWED
        assert set(attributes) <= ALLOWED[tag]
        assert not (attributes.get("href") or "").lower().startswith(("javascript", "data"))


@given(st.text(alphabet=st.sampled_from("<>\"'&`*_[]()!#|-~:/\\ \nax1.${}^"), max_size=200))
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
    assert to_html("![" * (MOST_SIGNS + 1)) is None


# --- Formulas -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("so $x^2 + y_1$ holds", "inline"),
        ("so \\(x^2 + y_1\\) holds", "inline"),
        ("so $$x^2 + y_1$$ holds", "block"),
        ("so \\[x^2 + y_1\\] holds", "block"),
        ("so\n$$\nx^2\n+ y_1\n- 3\n$$\nholds", "block"),
        ("so\n\n\\[\nx^2\n+ y_1\n\\]\n\nholds", "block"),
        ("1. so\n   \\[\n   x^2\n   + y_1\n   \\]\n2. holds", "block"),
    ],
)
def test_a_formula_is_set_as_one(text: str, display: str) -> None:
    html = to_html(text) or ""
    assert f'<math display="{display}">' in html
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert "<msub><mi>y</mi><mn>1</mn></msub>" in html
    assert not {"$", "\\"} & set(re.sub(r"<[^>]+>", "", html))


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.",
        "between $5 and 10$ a month",
        "from $5-$10",
        "US$5 to US$6, or $7",
        "$1,000 (about US$900)",
        "echo $HOME/bin:$PATH",
        "$ x $ has spaces",
        "a \\$5 note and a \\$10 note",
        "only one $ here",
        "`$x$` and `\\(y\\)`",
        "```\n$$\nx\n$$\n```",
        "    $$x$$",
    ],
)
def test_money_and_code_stay_text(text: str) -> None:
    assert "<math" not in (to_html(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        "$\\frac{1}$",
        "$x^{$",
        "$$\\begin{matrix} 1$$",
        "$" + "{" * 500 + "x" + "}" * 500 + "$",
        "$\\left( x$",
        "$$" + "x" * 3000 + "$$",
    ],
)
def test_a_formula_that_cannot_be_read_stays_text(text: str) -> None:
    html = to_html(text) or ""
    shown = html_library.unescape(re.sub(r"</?(p|br /)>", "", html)).strip()
    assert "<math" in html or shown.replace("\n", "") == text.replace("\n", "")


def test_what_stands_in_a_formula_is_read_once() -> None:
    html = to_html("$a < b \\text{ & <b>c</b>}$") or ""
    assert "&lt;" in html
    assert "&amp;" in html
    assert "<b>" not in html


@pytest.mark.parametrize("length", ["5000em", "-40em", "-0.9em", "99999999cm"])
def test_a_formula_stays_in_its_place(length: str) -> None:
    for latex in (f"a\\hspace{{{length}}}b", f"\\begin{{matrix}}a\\\\[{length}]b\\end{{matrix}}"):
        html = to_html(f"${latex}$") or ""
        assert "<math" in html
        assert f'="{length}"' not in html


@pytest.mark.parametrize("back", ["\\hspace{-1em}", "\\!", "\\kern-0.9em", "\\llap{x}", "\\LaTeX"])
def test_many_small_steps_do_not_take_a_formula_out_of_its_place(back: str) -> None:
    html = to_html(f"${back * 30} b$") or ""
    assert "<math" in html
    assert not re.search(r'="-|negative', html)


def test_after_very_many_formulas_the_rest_stay_text() -> None:
    html = to_html("$a$ " * (MOST_FORMULAS + 5)) or ""
    assert html.count("<math") == MOST_FORMULAS
    assert html.count("$a$") == 5


@pytest.mark.parametrize(
    "piece",
    [
        "\\[\n",
        "\\[x\n",
        "$$x\n",
        "\\(",
        "$a ",
        "$$",
        "\\[a\n- b\n",
        "$x$",
        "$\\frac{a}{b}$",
        "[",
        "**a",
    ],
)
def test_no_text_takes_more_than_its_length(piece: str) -> None:
    signs = sum(map(piece.count, "[*_"))
    most = min(LONGEST // len(piece), MOST_SIGNS // signs if signs else LONGEST)
    half, whole = piece * (most // 2), piece * most
    assert to_html(whole) is not None
    assert steps_of(whole) < 2.5 * steps_of(half)  # of the square of its length, four times


def steps_of(text: str) -> int:
    """How many functions are called to render the text: what it takes, on any machine."""
    steps = itertools.count()
    to_html("once, so that the parser is there")
    sys.setprofile(lambda *_: next(steps))
    try:
        to_html(text)
    finally:
        sys.setprofile(None)
    return next(steps)


# --- Characters that turn the direction -----------------------------------------------------------


@pytest.mark.parametrize("character", TURNING)
def test_what_turns_the_direction_is_shown_and_not_obeyed(character: str) -> None:
    text = f'abc {character}`def` [x](https://a.example/{character} "t{character}") $x{character}$'
    sign = f"⟦U+{ord(character):04X}⟧"
    for html in (to_html(text) or "", as_written(text)):
        assert character not in html
        assert sign in html


def test_a_text_as_it_stands_has_a_character_of_the_page_for_each_of_its_own() -> None:
    text = "a<b>&\r\n\u202e😀\"'"
    html = as_written(text)
    assert "<b>" not in html
    plain = re.sub(r'<span class="mark-of">[^<]*</span>', "\u202e", html)
    assert html_library.unescape(plain.replace("&#13;", "\r")) == text


def test_very_many_of_them_are_one_sign_each() -> None:
    html = as_written("\u202e" * (MOST_MARKS + 5))
    assert html.count("U+202E") == MOST_MARKS
    assert html.endswith("\ufffd" * 5)


@pytest.mark.parametrize("name", ["Runde 1", "سؤال‌ها", "👩‍🔬 science", "a\u200fb"])
def test_names_of_any_script_are_plain(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize("name", ["a\u202eb", "a\u2067b", "a\nb", "a\x00b", "a\u2028b"])
def test_a_name_that_turns_or_breaks_the_words_around_it_is_not(name: str) -> None:
    assert not is_plain_name(name)
