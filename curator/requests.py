"""What our views know of a request: who is signed in, and whether it asks for a page or a part of
one."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from curator.models import User


class SignedInRequest(HttpRequest):
    """A request whose user is signed in, which LoginRequiredMiddleware guarantees for our views."""

    user: User
    htmx: HtmxDetails


def wants_fragment(request: SignedInRequest) -> bool:
    """Whether htmx asks for a part of the page; going back in the history it wants all of it."""
    return bool(request.htmx) and not request.htmx.history_restore_request
