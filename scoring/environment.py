"""What a result depends on beside its inputs: versions, device and precision of this process."""

import platform
from typing import Any

import numpy as np
import torch
import transformers


def environment(*, device: torch.device, precision: str) -> dict[str, Any]:
    """The record that runs, members and checkpoints carry."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "precision": precision,
        "threads": torch.get_num_threads(),
        "host": platform.node(),
    }
