"""What our views know of a request: who is signed in or whose token it carries, and whether it asks
for a page or a part of one."""

from django.conf import settings
from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from curator.models import User


class SignedInRequest(HttpRequest):
    """A request whose user is signed in, which LoginRequiredMiddleware guarantees for our views."""

    user: User
    htmx: HtmxDetails


class TokenRequest(HttpRequest):
    """A request of a program: `auth` is the user whose token it carries, which the API guarantees
    for its operations."""

    auth: User


def client_address(request: HttpRequest) -> str:
    """Where the request comes from: the address that our proxy has seen, where there is one.

    Of X-Forwarded-For only the last entry is the proxy's own; whoever asks may write the others.
    """
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if settings.CURATOR_HTTPS and forwarded:
        return str(forwarded).rpartition(",")[2].strip()
    return str(request.META.get("REMOTE_ADDR", ""))


def wants_fragment(request: SignedInRequest) -> bool:
    """Whether htmx asks for a part of the page; going back in the history it wants all of it."""
    return bool(request.htmx) and not request.htmx.history_restore_request
