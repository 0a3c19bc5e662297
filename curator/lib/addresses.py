"""Where a form leads to when it is done, as the browser says: only to a page of ours."""

from django.utils.http import url_has_allowed_host_and_scheme


def local_address(given: str) -> str:
    """The address if it is a path of this site, else nothing."""
    is_path = given.startswith("/") and not given.startswith("//")
    return given if is_path and url_has_allowed_host_and_scheme(given, allowed_hosts=None) else ""
