"""The main job on the command line, end to end, on real workers: the keys that scripts rely on."""

import hashlib
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests import factories
from tests.commands.conftest import Installation

pytestmark = pytest.mark.worker

COUNT = 80


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty pairs of which a tenth of the labels are wrong, a duplicate and a broken row."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows: list[Any] = [
        factories.row(number, label="b" if number % 10 == 0 else "a") for number in range(COUNT)
    ]
    path.write_bytes(factories.file_of([*rows, rows[0], "nonsense"]).getvalue())
    return path


@pytest.fixture(scope="session")
def found(
    served: tuple[Installation, str], pairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What each command of the main job printed, in its order."""
    at, _ = served
    folder = tmp_path_factory.mktemp("main-job")
    truth = folder / "truth.jsonl"
    wrong = ({"id": f"pair-{n}", "flipped": n % 10 == 0} for n in range(COUNT))
    truth.write_text("".join(json.dumps(line) + "\n" for line in wrong))
    answers = {"import": at.json("import_pairs", str(pairs), "--dataset", "mine")}
    answers["train"] = at.json("train_ensemble", "mine", "--name", "heads", "--members", "4")
    answers["score"] = at.json("score", "mine", "--ensemble", "heads")
    run = str(answers["score"]["run"])
    answers["truth"] = at.json("audit", "mine", "--run", run, "--truth", str(truth))
    answers["plant"] = at.json("audit", "mine", "--run", run, "--plant", "0.1")
    answers["snapshot"] = at.json("snapshot", "mine")
    snapshot, output = str(answers["snapshot"]["snapshot"]), str(folder / "out.jsonl")
    answers["export"] = at.json("export", snapshot, "--output", output)
    return answers


def test_import_says_what_became_of_the_rows(found: dict[str, Any]) -> None:
    answer = found["import"]
    counts = {name: answer[name] for name in ("read", "created", "duplicates", "refused")}
    assert counts == {"read": COUNT + 2, "created": COUNT, "duplicates": 1, "refused": 1}
    assert "not valid JSON" in Path(answer["report"]).read_text()


def test_training_says_how_good_each_member_is(found: dict[str, Any]) -> None:
    answer = found["train"]
    assert answer["ensemble"] == "heads"
    assert len(answer["members"]) == 4
    for member in answer["members"]:
        assert 0.0 <= member["out_of_bag_accuracy"] <= 1.0
        assert member["seconds"] > 0


def test_scoring_gives_flags_and_a_noise_rate_with_its_interval(found: dict[str, Any]) -> None:
    answer = found["score"]
    assert (answer["mode"], answer["pairs"]) == ("out-of-bag", COUNT)
    assert sum(answer["flags"].values()) == COUNT
    noise = answer["noise_rate"]
    assert noise["low"] <= noise["estimate"] <= noise["high"]
    assert answer["pairs_per_second"] > 0


@pytest.mark.parametrize("kind", ["truth", "plant"])
def test_audits_find_the_wrong_labels(found: dict[str, Any], kind: str) -> None:
    answer = found[kind]
    assert answer["auroc"] > 0.8
    assert answer["average_precision"] > 0.1
    assert 0 <= answer["recall"] <= 1
    assert answer["curve"][-1] == {"reviewed": 1.0, "found": 1.0}


def test_the_export_is_where_it_says_with_the_digest_it_says(found: dict[str, Any]) -> None:
    answer = found["export"]
    data = Path(answer["path"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == answer["sha256"]
    assert data.count(b"\n") == answer["rows"] == found["snapshot"]["pairs"] == COUNT


def test_the_person_whom_a_link_makes_an_owner_sees_the_dataset(
    served: tuple[Installation, str], found: dict[str, Any]
) -> None:
    at, base = served
    link = at.json(
        "sign_in_link", "ida", "--create", "--dataset", "mine", "--role", "owner", "--base", base
    )["link"]
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    page = opener.open(link).read().decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    assert token is not None
    form = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1]}).encode()
    page = opener.open(urllib.request.Request(link, form, {"Referer": link})).read().decode()  # noqa: S310
    assert "/datasets/mine/" in page


def test_a_detached_run_is_watched_elsewhere(
    served: tuple[Installation, str], found: dict[str, Any]
) -> None:
    at, _ = served
    answer = at.json("score", "mine", "--ensemble", "heads", "--detach")
    assert answer["status"] in ("queued", "running", "done")


def test_a_command_starts_the_workers_it_lacks_and_stops_them(
    installation: Installation, pairs: Path
) -> None:
    answer = installation.run("import_pairs", str(pairs), "--dataset", "mine", "--json")
    assert answer.found["created"] == COUNT
    assert "No worker is running: starting one" in answer.err
    socket = installation.home / "run" / "broker.sock"
    assert not socket.exists()
    doctor = installation.json("doctor")
    assert doctor["ok"], doctor
