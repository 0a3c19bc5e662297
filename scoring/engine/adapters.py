"""LoRA adapters on a common base: the base's weights are in memory once, however many members stand
on them.

This saves memory, not time: from the first adapted layer on every member computes states of its
own, so each is a full pass.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from torch import Tensor

from scoring.engine.folders import ModelUnavailable

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"  # beside another name, peft would unpickle
HEADS = ("score", "classifier")
# of a configuration: what alters the weights that adapters share
CHANGE_THE_BASE = ("layer_replication", "megatron_config", "trainable_token_indices", "use_dora")

_bases: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()


def base_of(folder: Path) -> str | None:
    """The model that an adapter's folder is to be put on; None for a model of its own. Raises
    ModelUnavailable."""
    config = folder / CONFIG
    if not config.is_file():
        return None
    try:
        found = json.loads(config.read_bytes())
        kind, base = found["peft_type"], found["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"The {CONFIG} of {folder.name} cannot be read.") from error
    if kind != "LORA" or not isinstance(base, str):
        raise ModelUnavailable(f"{folder.name} is an adapter of kind {kind}; LoRA is what we read.")
    changing = [name for name in CHANGE_THE_BASE if found.get(name)]
    if changing or found.get("bias", "none") != "none":
        raise ModelUnavailable(
            f"{folder.name} changes its base beyond LoRA ({', '.join(changing) or 'bias'}), which "
            f"other members stand on."
        )
    if not (folder / WEIGHTS).is_file():
        raise ModelUnavailable(
            f"{folder.name} has no safetensors weights; pickled weights are not loaded."
        )
    return base


def attach(
    folder: Path, *, name: str, to: tuple[str, str], load_base: Callable[[], Any]
) -> tuple[Any, Callable[[], None]]:
    """The base `to` (its digest and precision) with the adapter on it, and what selects the
    adapter. Raises ModelUnavailable."""
    model = _bases.get(to)
    try:
        names = _names_in(folder)
        _check_own_head(names, folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing weights, which are refused below
            if model is None:
                model = PeftModel.from_pretrained(load_base(), str(folder), adapter_name=name)
            elif name not in model.peft_config:
                model.load_adapter(str(folder), adapter_name=name)
        _check_complete(model, name, names, folder)
    except Exception as error:  # there are many ways in which others' files can be wrong
        if model is not None and name in model.peft_config:
            model.delete_adapter(name)  # half loaded, it would pass for loaded the next time
        if isinstance(error, ModelUnavailable):
            raise
        raise ModelUnavailable(
            f"The adapter {folder.name} cannot be loaded: {error}"[:300]
        ) from error
    _bases[to] = model
    model.eval()
    return model, lambda: model.set_adapter(name)


def own_parameters(model: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The parameters of the base with one adapter, without those of others that stand on it."""
    others = set(model.peft_config) - {name}
    for path, weights in model.named_parameters():
        if others.isdisjoint(path.split(".")):
            yield path, weights


def _names_in(folder: Path) -> set[str]:
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        return set(file.keys())


def _check_own_head(names: set[str], folder: Path) -> None:
    """Refuse an adapter without a head: its base has none or another's."""
    heads = [name.removeprefix("base_model.model.").split(".") for name in names]
    if not any(parts[0] in HEADS and "lora" not in parts[1] for parts in heads):
        raise ModelUnavailable(
            f"The adapter {folder.name} brings no trained score head: train it with "
            f'modules_to_save=["score"].'
        )


def _check_complete(model: Any, name: str, names: set[str], folder: Path) -> None:
    """Refuse what peft would fill with random weights, and a head that it would not read."""
    wanted = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    foreign = sorted(names - wanted)
    if foreign:
        raise ModelUnavailable(
            f"The adapter {folder.name} holds weights that are not its own, such as {foreign[0]}."
        )
    absent = sorted(wanted - names)
    if absent:
        raise ModelUnavailable(
            f"The adapter {folder.name} has no weights for {len(absent)} of its parts, such as "
            f"{absent[0]}."
        )
    _check_own_head(wanted, folder)
