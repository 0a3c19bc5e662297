"""What a command cannot do it says in one sentence, and leaves nothing behind."""

from pathlib import Path

import pytest

from tests.commands.conftest import Installation


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["score", "nowhere", "--ensemble", "x"], "There is no dataset 'nowhere'"),
        (["train_ensemble", "nowhere", "--name", "x"], "There is no dataset 'nowhere'"),
        (["audit", "nowhere", "--run", "1", "--plant", "0.1"], "There is no dataset 'nowhere'"),
        (["compare_runs", "nowhere", "--runs", "1", "2"], "There is no dataset 'nowhere'"),
        (["snapshot", "nowhere"], "There is no dataset 'nowhere'"),
        (["export", "99", "--output", "x.jsonl"], "There is no snapshot 99"),
        (["import_pairs", "/nowhere.jsonl", "--dataset", "x"], "There is no file /nowhere.jsonl"),
        (["export_labels", "nowhere", "--output", "x.jsonl"], "There is no dataset 'nowhere'"),
        (["import_labels", "x.jsonl", "--dataset", "nowhere"], "There is no dataset 'nowhere'"),
        (["gold", "nowhere", "x.jsonl"], "There is no dataset 'nowhere'"),
        (["sign_in_link", "nobody"], "There is no user 'nobody'"),
    ],
)
def test_what_is_not_there_is_named(
    installation: Installation, command: list[str], sentence: str
) -> None:
    assert installation.run(*command).refusal.startswith(f"Refused: {sentence}")


def test_a_layout_that_is_not_known_is_refused_before_anything_is_made(
    installation: Installation, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("{}\n")
    command = ["import_pairs", str(path), "--dataset", "fresh", "--format", "xml"]
    assert "The format 'xml' is not known" in installation.run(*command).refusal
    assert "There is no dataset 'fresh'" in installation.run("snapshot", "fresh").refusal


def test_with_a_broker_of_its_own_a_command_waits_for_no_worker(
    installation: Installation, tmp_path: Path
) -> None:
    """Nothing is launched that would run when nobody expects it any more."""
    path = tmp_path / "pairs.jsonl"
    path.write_text("{}\n")
    command = ["import_pairs", str(path), "--dataset", "later"]
    answer = installation.run(*command, REDIS_URL="redis://127.0.0.1:9/0")
    assert "No worker is alive on queue default" in answer.refusal
    assert "There is no dataset 'later'" in installation.run("snapshot", "later").refusal


def test_a_database_that_cannot_be_reached_is_a_sentence(installation: Installation) -> None:
    nowhere = "postgres://curator@127.0.0.1:9/curator"
    refusal = installation.run("snapshot", "x", DATABASE_URL=nowhere).refusal
    assert refusal.startswith("Refused: The database cannot be reached")


def test_settings_that_make_no_sense_are_all_named_at_once(installation: Installation) -> None:
    answer = installation.run("check", MAX_UPLOAD_BYTES="many", LOG_LEVEL="LOUD")
    assert answer.status != 0
    assert "MAX_UPLOAD_BYTES" in answer.err
    assert "LOG_LEVEL" in answer.err
