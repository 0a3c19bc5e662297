"""The REST API: who may call it, how it answers what it cannot do, and the routers that it is made
of. Pages about it would need scripts from elsewhere; its description is at `/api/openapi.json`."""

from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, ValidationError
from ninja.renderers import JSONRenderer
from ninja.security import HttpBearer

from annotations.api import router as annotations_router
from curator import tokens
from curator.lib import uploads
from curator.lib.faults import BUSY, is_busy, system_fault
from curator.lib.refusals import Refusal
from curator.models import User
from scoring.api import router as scoring_router

UNPROCESSABLE = 422
DESCRIPTION = """Register reward models, assemble ensembles, score datasets and compare the runs.

What cannot be done is answered with `{"detail": <a sentence>}`: 401 without a valid token, 403 for
what your role does not allow, 404 for what is not there or not yours to see, 409 for what is there
already, 422 for the rest."""
NOT_KNOWN = "Show a valid token, as `Authorization: Bearer cur_…`: `manage.py api_token` makes one."


class ReadableJSON(JSONRenderer):
    """Text stands as it is, as in what the commands print."""

    json_dumps_params = {"ensure_ascii": False}


class Token(HttpBearer):
    """The token of a person, never their session: a page of another site cannot make a browser show
    it, so that requests need no protection from forgery."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        return tokens.user_of(token)


api = NinjaAPI(
    title="Curator",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    auth=Token(),
    renderer=ReadableJSON(),
    openapi_url=None,
    docs_url=None,
)
api.add_router("", annotations_router)
api.add_router("", scoring_router)


@api.get("/openapi.json", include_in_schema=False)
def openapi(request: HttpRequest) -> dict[str, Any]:
    return api.get_openapi_schema()


@api.exception_handler(Refusal)
def refused(request: HttpRequest, error: Refusal) -> HttpResponse:
    """What was asked for was understood and cannot be done, unless the refusal says more."""
    status = UNPROCESSABLE if error.status == Refusal.status else error.status
    return _answer(request, str(error), status)


@api.exception_handler(Http404)
def not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return _answer(request, "There is nothing here, or it is not yours to see.", 404)


@api.exception_handler(AuthenticationError)
def not_known(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """One sentence for all, so that it tells nobody which tokens and people there are."""
    response = _answer(request, NOT_KNOWN, 401)
    response["WWW-Authenticate"] = "Bearer"
    return response


@api.exception_handler(ValidationError)
def not_valid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    sentence = "; ".join(f"{_place(found)}: {found['msg']}" for found in error.errors)
    return _answer(request, f"{sentence}.", UNPROCESSABLE)


@api.exception_handler(SuspiciousOperation)
def too_much(request: HttpRequest, error: SuspiciousOperation) -> HttpResponse:
    sentence = uploads.too_much(error)
    if sentence is None:
        raise error
    return _answer(request, sentence, uploads.TOO_LARGE)


@api.exception_handler(Exception)
def failed(request: HttpRequest, error: Exception) -> HttpResponse:
    known = BUSY if is_busy(error) else system_fault(error)
    if known is None:
        raise error
    return _answer(request, known, 503)


def _answer(request: HttpRequest, sentence: str, status: int) -> HttpResponse:
    return api.create_response(request, {"detail": sentence}, status=status)


def _place(found: dict[str, Any]) -> str:
    """Where in the request the problem is: without the function's name for the body."""
    source, *path = found["loc"]
    return ".".join(str(step) for step in (path[1:] if source == "body" else path)) or source
