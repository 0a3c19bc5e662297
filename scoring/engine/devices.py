"""Which device and precision this process computes in, and which of torch's errors mean what."""

import os

import torch

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHARE_OF_MEMORY = {"cuda": 0.6, "cpu": 0.4}  # that models may hold; the rest is for batches
BATCH_TOKENS = {"cuda": 16384, "cpu": 1536}


class DeviceLost(Exception):
    """The device no longer answers: this process can do nothing more with it."""


def this_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_precision() -> str:
    """The precision in which this host computes fastest."""
    return "bfloat16" if torch.cuda.is_available() or has_fast_bfloat16() else "float32"


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware; elsewhere fp32 is faster."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def memory_for_models() -> int:
    """Bytes that loaded models may hold together."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory * SHARE_OF_MEMORY["cuda"])
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(whole * SHARE_OF_MEMORY["cpu"])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch might succeed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def is_device_lost(error: BaseException) -> bool:
    """Whether nothing more can be computed on the device by this process."""
    if is_out_of_memory(error):
        return False
    accelerator = getattr(torch, "AcceleratorError", None)
    if accelerator is not None and isinstance(error, accelerator):
        return True
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def free_memory() -> None:
    """Give back what is cached for batches."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
