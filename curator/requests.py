"""The type of a request whose user is signed in, which LoginRequiredMiddleware guarantees for
our views."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from curator.models import User


class SignedInRequest(HttpRequest):
    user: User
    htmx: HtmxDetails
