"""What is too large to be read: files are read to their end and thrown away, so that the page can
say so, and everything else is refused with a sentence."""

import logging
from typing import Any

from django.conf import settings
from django.core.exceptions import (
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest

TOO_LARGE = 413
TOO_MUCH: dict[type[SuspiciousOperation], str] = {
    RequestDataTooBig: "What you sent is larger than {size} MiB, the most that is read at once: "
    "shorten it.",
    TooManyFieldsSent: "What you sent has more fields than are read at once: send less.",
    TooManyFilesSent: "You sent more files than are read at once: send fewer.",
}
LOGGERS: tuple[str, ...] = tuple(f"django.security.{error.__name__}" for error in TOO_MUCH)


class CappedUploadHandler(FileUploadHandler):
    """Stops an upload past MAX_UPLOAD_BYTES, and leaves a mark on the request for the view."""

    received = 0

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        self.received = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self.received += len(raw_data)
        if self.received > settings.MAX_UPLOAD_BYTES:
            assert self.request is not None
            self.request.upload_too_large = True  # type: ignore[attr-defined]
            raise StopUpload(connection_reset=False)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


class InOneLine(logging.Filter):
    """Makes of a request that was refused for its size one line of the log: it is no fault of the
    code, so that no trace of it helps anybody."""

    def filter(self, record: logging.LogRecord) -> bool:
        path = getattr(getattr(record, "request", None), "path", "?")
        record.msg, record.args = "%s: %s", (record.getMessage(), path)
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = None
        return True


def too_much(error: Exception) -> str | None:
    """The sentence for a request that is larger than what is read; None for any other error."""
    size = f"{settings.DATA_UPLOAD_MAX_MEMORY_SIZE / 1024**2:.3g}"
    found = (said for kind, said in TOO_MUCH.items() if isinstance(error, kind))
    return next((said.format(size=size) for said in found), None)


def is_too_large(request: HttpRequest) -> bool:
    """Whether the request carried a file past the cap, which is therefore missing from it."""
    return getattr(request, "upload_too_large", False)


def largest_shown() -> str:
    """The cap in words."""
    return f"{settings.MAX_UPLOAD_BYTES / 1024**3:.3g} GiB"
