"""Texts that people type, as every database can hold them."""

from typing import Annotated

from pydantic import AfterValidator


def storable_text(text: str) -> str:
    """The text without NUL and halves of characters, which PostgreSQL and UTF-8 refuse."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _without_nul(text: str) -> str:
    if "\0" in text:  # which PostgreSQL does not store, nor look for
        raise ValueError("A text holds no NUL character")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]  # in what programs send
