"""The WSGI application: `gunicorn curator.wsgi`."""

import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "curator.settings")

application = get_wsgi_application()
# Pages are imported now, not by the first request, and what is here to stay is never gone through
# again for garbage: that held up every twentieth page for as long as the page itself took.
assert get_resolver().url_patterns
gc.collect()
gc.freeze()
