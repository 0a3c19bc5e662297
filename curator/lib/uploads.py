"""Uploads that are too large are read to their end and thrown away, so that the page can say so."""

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest


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


def is_too_large(request: HttpRequest) -> bool:
    """Whether the request carried a file past the cap, which is therefore missing from it."""
    return getattr(request, "upload_too_large", False)


def largest_shown() -> str:
    """The cap in words."""
    return f"{settings.MAX_UPLOAD_BYTES / 1024**3:.3g} GiB"
