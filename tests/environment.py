"""The environment that tests run in, set before anything of Curator's is imported.

Loaded as a plugin (`-p tests.environment`), because pytest-django reads the settings before any
conftest, and they read the environment once.
"""

import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

HOME = Path(tempfile.mkdtemp(prefix="curator-tests-"))


def of_this_process(url: str) -> str:
    """The Redis URL with a database number of this test process's own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    return urlunsplit(urlsplit(url)._replace(path=f"/{int(worker.removeprefix('gw')) + 1}"))


os.environ["CURATOR_HOME"] = str(HOME)
os.environ["SECRET_KEY"] = "for-tests-only"
os.environ["LOG_LEVEL"] = "WARNING"
os.environ["OMP_NUM_THREADS"] = "1"  # test processes share the cores
os.environ["WORKER_NICENESS"] = "0"  # whoever waits for a worker in a test has nothing else to do
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop here
os.environ.pop("CURATOR_HTTPS", None)
if os.environ.get("REDIS_URL"):
    os.environ["REDIS_URL"] = of_this_process(os.environ["REDIS_URL"])


def pytest_unconfigure() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
