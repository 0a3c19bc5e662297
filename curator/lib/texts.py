"""Texts that people type, as every database can hold them."""


def storable_text(text: str) -> str:
    """The text without NUL and halves of characters, which PostgreSQL and UTF-8 refuse."""
    return text.replace("\x00", "").encode(errors="replace").decode()
