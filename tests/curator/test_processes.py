"""What the processes load: the web server and the ordinary worker stay small."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

LOADED = "import sys; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
WEB = "import curator.wsgi, django.urls; django.urls.get_resolver().url_patterns; "
WORKER = (
    "import curator.wsgi; from curator.celery import TASK_MODULES; import importlib; "
    "[importlib.import_module(name) for name in TASK_MODULES['default']]; "
)


@pytest.mark.parametrize("code", [WEB, WORKER], ids=["web", "default worker"])
def test_torch_stays_with_the_scoring_worker(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code + LOADED],
        capture_output=True,
        text=True,
        cwd=settings.BASE_DIR,
        env=os.environ | {"LOG_LEVEL": "ERROR"},
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_scoring_worker_with_several_processes_on_one_device_is_refused() -> None:
    command = ["-m", "celery", "-A", "curator", "worker", "-Q", "scoring", "-c", "2"]
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=settings.BASE_DIR,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "start it with --concurrency 1" in done.stderr + done.stdout


def test_a_worker_leaves_the_processors_to_the_web_server() -> None:
    """Both may stand on one machine, and people wait for one of them."""
    begin = "import os, curator.wsgi; from curator.celery import load_tasks; before = os.nice(0); "
    work = "load_tasks('worker', {'queues': 'default'}); print(before, os.nice(0))"
    done = subprocess.run(
        [sys.executable, "-c", begin + work],
        capture_output=True,
        text=True,
        cwd=settings.BASE_DIR,
        env=os.environ | {"WORKER_NICENESS": "7", "LOG_LEVEL": "ERROR"},
        check=True,
        start_new_session=True,
    )
    before, after = map(int, done.stdout.split())
    assert after == min(before + 7, 19)


def test_the_web_server_never_goes_through_its_own_code_for_garbage() -> None:
    """It did once, and every twentieth page took twice as long as the others."""
    ask = "import curator.wsgi, gc, sys; print(len(gc.get_objects()), gc.get_freeze_count(), "
    done = subprocess.run(
        [sys.executable, "-c", ask + "'scoring.views.review' in sys.modules)"],
        capture_output=True,
        text=True,
        cwd=settings.BASE_DIR,
        env=os.environ | {"LOG_LEVEL": "ERROR"},
        check=True,
    )
    looked_at, kept, has_pages = done.stdout.split()
    assert int(looked_at) < int(kept) / 10
    assert has_pages == "True"
