"""What a model's reference names: an id of the model hub, or a folder set aside for models."""

import re
from pathlib import Path

HUB_ID = re.compile(r"[A-Za-z0-9][\w-]*(\.[\w-]+)*(/[A-Za-z0-9][\w-]*(\.[\w-]+)*)?")


def is_hub_id(reference: str) -> bool:
    """Whether it has the form of an id, such as `organisation/model`."""
    return HUB_ID.fullmatch(reference) is not None


def is_within(reference: str, folder: Path) -> bool:
    """Whether it is an absolute path inside the folder, links followed."""
    path = Path(reference)
    return path.is_absolute() and path.resolve().is_relative_to(folder.resolve())
