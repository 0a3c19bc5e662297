"""Errors that the user reads: a refusal's message is one clear sentence saying what is wrong and
what to do."""


class Refusal(Exception):
    """Something was asked for that cannot be done. The message is shown as it stands; nothing
    was changed."""

    status = 400


class Forbidden(Refusal):
    """The user may see this but not do that."""

    status = 403


class Conflict(Refusal):
    """Somebody else changed it in the meantime."""

    status = 409


def status_beside_form(refusal: Refusal) -> int:
    """Of the page that shows the form again with the sentence beside it. Raises what is no matter
    of the form: who may not do it gets no form."""
    if isinstance(refusal, Forbidden):
        raise refusal
    return 422 if refusal.status == Refusal.status else refusal.status
