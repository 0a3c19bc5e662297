"""Answer a refusal with its own sentence, as a page or, to htmx, as a notice on the page that
asked."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django_htmx.http import reswap, retarget

from curator.lib.faults import system_fault
from curator.lib.refusals import Refusal


class RefusalMiddleware:
    """Turns a Refusal raised by a view, and faults of the machine that we know, into an answer
    for people."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, Refusal):
            return refused(request, str(error), error.status)
        known = system_fault(error)
        return refused(request, known, 503) if known else None


def refused(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    context = {"sentence": sentence, "status": status}
    if getattr(request, "htmx", False):
        return reswap(
            retarget(render(request, "_notice.html", context, status=status), "#notices"),
            "innerHTML",
        )
    return render(request, "refused.html", context, status=status)
