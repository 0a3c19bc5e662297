"""Signing in, what went wrong, the health check, and the state of the machinery: pages without
domain words."""

import sys
from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render, resolve_url
from django.template import loader
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods
from django.views.defaults import server_error

from curator import presence, sign_in_links
from curator.celery import TASK_MODULES
from curator.lib import broker, uploads
from curator.lib.addresses import local_address
from curator.lib.faults import BUSY, is_busy
from curator.middleware import refused


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in_link(request: HttpRequest, mark: str, token: str) -> HttpResponse:
    """A page that asks whether to sign in: a link alone changes nothing, as previews of it are
    fetched too."""
    user = sign_in_links.user_of(mark, token)
    if user is None:
        return render(request, "registration/sign_in_link_used.html", status=410)
    if request.method == "GET":
        return render(
            request,
            "registration/sign_in_link.html",
            {"person": user, "next": request.GET.get("next", "")},
        )
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    target = local_address(request.POST.get("next", ""))
    return HttpResponseRedirect(target or resolve_url(settings.LOGIN_REDIRECT_URL))


def locked_out(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
    """For who has guessed a password too often."""
    minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
    sentence = (
        f"Too many wrong passwords for this account from your address: wait {minutes} minutes, or "
        "ask for a sign-in link."
    )
    return refused(request, sentence, 429)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(reverse("api:api-root")):
        return JsonResponse({"detail": "The API has no such address."}, status=404)
    return _in_place(request, "That is not here any more: load the page again.", 404)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _in_place(request, "You may not do this.", 403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    sentence = uploads.too_much(exception)
    if sentence:
        return refused(request, sentence, uploads.TOO_LARGE)
    return _in_place(request, "The server did not understand the request.", 400)


def broken(request: HttpRequest) -> HttpResponse:
    """What no view has expected, wherever in the request it came up. Where the database was only
    busy, that is said; the page asks nothing of it."""
    if not is_busy(sys.exc_info()[1]):
        return server_error(request)
    if getattr(request, "htmx", False):
        return refused(request, BUSY, 503)
    return HttpResponse(
        loader.get_template("503.html").render({"sentence": BUSY}),
        status=503,
        headers={"Retry-After": "10"},
    )


def _in_place(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    """The page of the error; to htmx, which would put it into a part of a page, a notice."""
    if getattr(request, "htmx", False):
        return refused(request, sentence, status)
    return render(request, f"{status}.html", status=status)


@login_not_required
@never_cache
@require_GET
def health(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers and reaches the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_GET
def machinery(request: HttpRequest) -> HttpResponse:
    """Which workers are alive and whether the broker answers."""
    queues = [{"name": queue, "workers": presence.alive(queue)} for queue in TASK_MODULES]
    answers = broker.answers(settings.CELERY_BROKER_URL, timeout=0.5)
    return render(request, "machinery.html", {"queues": queues, "broker_answers": answers})
