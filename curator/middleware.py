"""Answer a refusal with its own sentence, as a page or, to htmx, as a notice on the page that
asked."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render, resolve_url
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget

from curator.lib.faults import system_fault
from curator.lib.refusals import Refusal


class SignInMiddleware(LoginRequiredMiddleware):
    """Sends a stranger to the sign-in page; a part of a page that htmx asks for is no place for
    it. The API knows people by their tokens alone, and answers for itself."""

    def process_view(
        self,
        request: HttpRequest,
        view_func: Callable[..., HttpResponseBase],
        view_args: Any,
        view_kwargs: Any,
    ) -> HttpResponseBase | None:
        match = request.resolver_match
        if match is not None and match.namespaces[:1] == ["api"]:
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)

    def handle_no_permission(
        self, request: HttpRequest, view_func: Callable[..., HttpResponseBase]
    ) -> Any:
        if request.headers.get("HX-Request") == "true":
            page = urlsplit(request.headers.get("HX-Current-URL", "")).path or "/"
            return HttpResponseClientRedirect(f"{resolve_url(settings.LOGIN_URL)}?next={page}")
        return super().handle_no_permission(request, view_func)


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
