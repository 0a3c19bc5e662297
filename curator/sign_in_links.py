"""One-time links that sign a person in: no password is ever printed, sent or set by default.

The link carries Django's own token over the user's last sign-in and password, so using it once ends
it.
"""

from django.contrib.auth.tokens import default_token_generator
from django.urls import reverse
from django.utils.encoding import force_bytes, force_str
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from curator.models import User


def path_for(user: User) -> str:
    """The path of a fresh link for the user."""
    mark = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("sign-in-link", args=[mark, default_token_generator.make_token(user)])


def user_of(mark: str, token: str) -> User | None:
    """Whom the link signs in; None when it is wrong, used or too old."""
    try:
        user = User.objects.get(pk=int(force_str(urlsafe_base64_decode(mark))), is_active=True)
    except (User.DoesNotExist, ValueError, OverflowError):
        return None
    return user if default_token_generator.check_token(user, token) else None
