"""Formulas in LaTeX as MathML, by an allow-list. What cannot be read as a formula stays text."""

import html
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from latex2mathml.converter import convert_to_element

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST = 2000  # characters of one formula
DEEPEST = 30  # nested braces; the converter calls itself for each

ELEMENTS = """
    math menclose mfenced mfrac mi mn mo mover mpadded mphantom mroot mrow mspace msqrt mstyle msub
    msubsup msup mtable mtd mtext mtr munder munderover
"""
# neither links nor colours nor styles: a formula is read, and changes nothing around it
ATTRIBUTES = """
    accent accentunder columnalign columnlines columnspacing depth display displaystyle fence form
    height largeop linethickness lspace mathvariant maxsize minsize movablelimits notation rowlines
    rowspacing rspace scriptlevel separator stretchy symmetric voffset width
"""
# what the converter does not know, by what it knows and looks the same
ALIKE = {
    "align": "align*",
    "aligned": "split",
    "alignedat": "split",
    "eqnarray": "align*",
    "gather": "matrix",
    "gather*": "matrix",
    "gathered": "matrix",
}
ENVIRONMENT = re.compile(r"\\(begin|end)\{([a-z]+\*?)\}(?:(?<=alignedat\})\{\d+\})?")
NUMBER = re.compile(r"\d+\.?\d*|\.\d+")
MOST_ROOM = 10.0  # mostly of an em
BACKWARDS = re.compile(r"\s*(-|negative)")  # many small steps back reach as far as a large one
ALLOWED = frozenset(ELEMENTS.split())
ALLOWED_ATTRIBUTES = frozenset(ATTRIBUTES.split())


@lru_cache(maxsize=2048)
def to_mathml(latex: str, *, is_display: bool) -> str | None:
    """The formula as safe MathML, or None where it cannot be read."""
    if len(latex) > LONGEST or _depth(latex) > DEEPEST:
        return None
    try:
        known = ENVIRONMENT.sub(_known, latex)
        root = convert_to_element(known, display="block" if is_display else "inline")
        return _written(root)
    except Exception:  # noqa: BLE001 - whatever trips over hostile text, the text is shown instead
        return None


def _is_modest(value: str) -> bool:
    """Whether no length in it would push a formula out of its place, or pull it back over what
    stands before it."""
    if BACKWARDS.match(value):
        return False
    return all(float(number) <= MOST_ROOM for number in NUMBER.findall(value))


def _depth(latex: str) -> int:
    """How deep its braces are nested, at most."""
    depth = deepest = 0
    for character in latex:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest


def _known(environment: re.Match[str]) -> str:
    step, name = environment.groups()
    if name in ("equation", "equation*", "displaymath", "math"):
        return ""
    return f"\\{step}{{{ALIKE.get(name, name)}}}"


def _written(element: "Element") -> str:
    """The element as HTML. The converter's own writer is not used: it takes the escapes out of
    what stood in the formula's text."""
    if element.tag not in ALLOWED:
        raise ValueError(f"{element.tag} is no element of a formula")
    attributes = "".join(
        f' {name}="{html.escape(str(value))}"'
        for name, value in element.items()
        if name in ALLOWED_ATTRIBUTES and _is_modest(str(value))
    )
    text = html.escape(html.unescape(element.text or ""))
    if element.tag == "mi" and (text.startswith("\\") or text == "&amp;"):
        raise ValueError(f"the converter has not understood {text}")
    inner = "".join(_written(child) for child in element)
    return f"<{element.tag}{attributes}>{text}{inner}</{element.tag}>"
