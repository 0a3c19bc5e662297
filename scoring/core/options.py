"""How a reward model is run: every trick of the engine, each of which can be turned off.

None of them changes a score beyond float rounding; `tests/scoring/test_engine_options.py` holds
each to that.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Attention = Literal["auto", "sdpa", "flex"]
SWITCH = {"on": True, "off": False}


@dataclass(frozen=True)
class EngineOptions:
    """The tricks, and how much goes through the model at once."""

    share_prefixes: bool = True  # what texts of one prompt begin with is read once
    prune_last_layer: bool = True  # in the last layer only scored tokens go beyond keys and values
    share_trunks: bool = True  # layers that members have in common are run once
    pack: bool = True  # decoders without padding; else padded batches
    sort_by_length: bool = True
    token_budget: int = 0  # tokens a batch; 0 is what suits the device
    attention: Attention = "auto"
    compile: bool = False  # norms and feed-forward parts by torch.compile

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "EngineOptions":
        return cls(**values)

    @classmethod
    def from_texts(cls, given: dict[str, str]) -> "EngineOptions":
        """The options as a person writes them: `share_prefixes=off`. Raises ValueError with a
        sentence."""
        values: dict[str, Any] = {}
        defaults = asdict(cls())
        for name, text in given.items():
            if name not in defaults:
                raise ValueError(
                    f"The engine has no option {name!r}; it has: {', '.join(defaults)}."
                )
            values[name] = _parsed(name, text, defaults[name])
        return cls(**values)


def _parsed(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text not in SWITCH:
            raise ValueError(f"{name} is on or off, not {text!r}.")
        return SWITCH[text]
    if isinstance(default, int):
        if not text.isdecimal():
            raise ValueError(f"{name} is a whole number, not {text!r}.")
        return int(text)
    if text not in get_args(Attention):
        raise ValueError(f"{name} is one of {', '.join(get_args(Attention))}, not {text!r}.")
    return text
