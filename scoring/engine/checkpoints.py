"""Reward models that others have trained: loaded only if they are what they seem, and named by the
digest of everything that shapes a score."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.modeling_layers import GenericForSequenceClassification

from curator.lib import digests
from scoring.engine import adapters
from scoring.engine.conversations import TEMPLATE_ERRORS, Reader
from scoring.engine.devices import PRECISIONS, this_device
from scoring.engine.folders import (
    ModelUnavailable,
    check_folder,
    commit_of,
    digest_of_files,
    folder_of,
    open_folder_of,
)

ScoreAt = Literal["", "last", "before-padding"]

ENGINE = 1  # raised when the engine's scores change, so that cached rewards are not taken for new
TOKENIZER_FILES = ["tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "*.model"]
LONGEST = 32_768  # tokens, where neither tokenizer nor configuration names a limit
HEADS = ("score", "classifier", "head", "pre_classifier", "pooler")
PROBE = [
    {"role": "user", "content": "Is water wet?"},
    {"role": "assistant", "content": "It makes other things wet."},
]


@dataclass(frozen=True)
class Setup:
    """How a checkpoint is run: what was chosen when it was registered."""

    dtype: str = "float32"
    max_length: int = 0  # tokens; 0 is what the model allows
    score_at: ScoreAt = ""  # which token's score counts, where the two ways of telling differ


@dataclass(frozen=True)
class Identity:
    """What is known of a checkpoint once it was loaded, and what must not change after."""

    weights_digest: str  # of all its files
    tokenizer_digest: str
    template_digest: str
    architecture: str
    is_decoder: bool
    parameters: int
    dtype: str
    max_length: int
    score_at: str
    layer_digests: tuple[str, ...]  # of everything up to and with each layer, shortened

    @property
    def digest(self) -> str:
        """Names everything that shapes a reward."""
        return digests.of_value(
            [
                ENGINE,
                self.weights_digest,
                self.template_digest,
                self.dtype,
                self.max_length,
                self.score_at,
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "layer_digests": list(self.layer_digests)}


@dataclass
class Checkpoint:
    """A loaded reward model."""

    identity: Identity
    model: Any
    tokenizer: Any
    reader: Reader
    device: torch.device
    dtype: torch.dtype
    commit: str  # of the hub, where it came from there
    select: Callable[[], None]  # makes the model's weights this checkpoint's own (adapters share)

    @property
    def body(self) -> Any:
        """The model without its head."""
        return getattr(self.model, self.model.base_model_prefix)

    @property
    def tensors(self) -> dict[int, int]:
        """Address and bytes of each of its weights; checkpoints may share some."""
        weights = self.model.parameters()
        return {p.data_ptr(): p.numel() * p.element_size() for p in weights}


def load(
    reference: str,
    *,
    revision: str = "",
    setup: Setup,
    expected_digest: str = "",
    with_layer_digests: bool = False,
    within: Path | None = None,
) -> Checkpoint:
    """The reward model of a folder or of the hub, ready to score on this process's device.

    Raises ModelUnavailable with a sentence for everything that makes its scores meaningless: no
    trained score head, several outputs, pickled or missing or non-finite weights, no pad token, a
    digest other than `expected_digest`. Where `within` is given, only the hub and folders in there
    are opened, for an adapter's base too.
    """
    folder = _folder(reference, revision, within)
    base = adapters.base_of(folder)
    folders = [folder] if base is None else [folder, _folder(base, "", within)]
    if adapters.base_of(folders[-1]) is not None:
        raise ModelUnavailable(f"{reference} is an adapter on an adapter.")
    check_folder(folders[-1])
    file_digests = [digests.of_value(digest_of_files(each)) for each in folders]
    weights_digest = digests.of_value(file_digests)
    if expected_digest and weights_digest != expected_digest:
        raise ModelUnavailable(
            f"The files of {reference} have changed since it was registered: register it anew."
        )
    reads_by = folder_of_tokenizer(folders, reference)
    tokenizer = tokenizer_in(reads_by, reference)
    dtype = PRECISIONS[setup.dtype]
    if base is None:
        model, select = _model(folder, reference, dtype), _nothing
        parameters = list(model.named_parameters())
    else:
        load_base = partial(_model, folders[-1], reference, dtype, head_may_be_missing=True)
        key = (file_digests[-1], setup.dtype)
        model, select = adapters.attach(folder, name=weights_digest, to=key, load_base=load_base)
        parameters = list(adapters.own_parameters(model, weights_digest))
    _check_pad_token(tokenizer, model, reference)
    check_finite(parameters, reference)
    is_decoder = isinstance(unwrapped(model), GenericForSequenceClassification)
    max_length = most_tokens(model, tokenizer, setup.max_length)
    reader = Reader(tokenizer, is_decoder=is_decoder, max_length=max_length)
    identity = Identity(
        weights_digest=weights_digest,
        tokenizer_digest=digests.of_value(digest_of_files(reads_by, TOKENIZER_FILES)),
        template_digest=digests.of_value(tokenizer.chat_template or ""),
        architecture=type(unwrapped(model)).__name__,
        is_decoder=is_decoder,
        parameters=sum(weights.numel() for _, weights in parameters),
        dtype=setup.dtype,
        max_length=max_length,
        score_at=_score_at(reader, model, setup.score_at, reference),
        # adapters change their base's layers by turns, so that none of those is an adapter's own
        layer_digests=_layer_digests(model, is_decoder)
        if with_layer_digests and base is None
        else (),
    )
    device = this_device()
    model = _with_float_head(unwrapped(model)).eval().to(device)
    commit = commit_of(folder)
    return Checkpoint(identity, model, tokenizer, reader, device, dtype, commit, select)


def _folder(reference: str, revision: str, within: Path | None) -> Path:
    if within is None:
        return folder_of(reference, revision)
    return open_folder_of(reference, revision, within)


def folder_of_tokenizer(folders: list[Path], reference: str) -> Path:
    """The checkpoint's own, if it has a tokenizer; an adapter may leave it to its base."""
    for folder in folders:
        if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            return folder
    raise ModelUnavailable(f"{reference} comes without a tokenizer.")


def tokenizer_in(folder: Path, reference: str) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # there are many ways in which others' files can be wrong
        raise ModelUnavailable(
            f"The tokenizer of {reference} cannot be loaded: {error}"[:300]
        ) from error
    if not tokenizer.is_fast:
        raise ModelUnavailable(f"{reference} has no fast tokenizer (tokenizer.json).")
    return tokenizer


def _model(
    folder: Path, reference: str, dtype: torch.dtype, *, head_may_be_missing: bool = False
) -> Any:
    """The model of a folder, in one piece. An adapter brings the head that its base lacks."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if head_may_be_missing:
            config.num_labels = 1
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager" if squeezes(config) else None,  # None: SDPA if it has it
            output_loading_info=True,
        )
    except Exception as error:  # there are many ways in which others' files can be wrong
        raise ModelUnavailable(
            f"{reference} cannot be loaded as a sequence classifier: {error}"[:300]
        ) from error
    missing = sorted(report["missing_keys"])
    _check_complete([n for n in missing if not (head_may_be_missing and is_head(n))], reference)
    # after the head, of which a language model's config says nothing: two is the default, and what
    # transformers leaves out where there are two
    if config.num_labels != 1:
        raise ModelUnavailable(
            f"{reference} gives {config.num_labels} scores a text (num_labels); a reward model "
            f"gives one."
        )
    return model


def _nothing() -> None:
    """A model of its own needs no selecting."""


def unwrapped(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def squeezes(config: Any) -> bool:
    """Gemma 2 squeezes its scores, which SDPA leaves out (reward-bench issues 163, 169)."""
    return getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None


def _check_complete(missing: list[str], reference: str) -> None:
    """Random weights are others in every process: nothing may be left to chance."""
    if not missing:
        return
    heads = [name for name in missing if is_head(name)]
    if heads:
        raise ModelUnavailable(
            f"{reference} has no trained score head ({heads[0]} is not in its files): it is a "
            f"language model or encoder, not a reward model."
        )
    raise ModelUnavailable(
        f"{reference} has no weights for {len(missing)} parts of the model, such as {missing[0]}."
    )


def is_head(name: str) -> bool:
    return name.split(".")[0] in HEADS


def _check_pad_token(tokenizer: Any, model: Any, reference: str) -> None:
    configured = model.config.get_text_config().pad_token_id
    if configured is not None and configured < 0:  # early LLaMA conversions say -1 for none
        configured = None
    if tokenizer.pad_token_id is None and configured is None:
        raise ModelUnavailable(
            f"{reference} has no pad token: name one in its tokenizer_config.json (`pad_token`) "
            f"and config.json (`pad_token_id`), as it was trained with."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = configured
    if configured is None:
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def check_finite(parameters: Iterable[tuple[str, Tensor]], reference: str) -> None:
    for name, weights in parameters:
        if not torch.isfinite(weights).all():
            raise ModelUnavailable(f"{reference} holds weights that are no numbers, in {name}.")


def most_tokens(model: Any, tokenizer: Any, asked: int) -> int:
    """Tokens that the model reads at most."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or LONGEST
    embeddings = getattr(getattr(unwrapped(model), "base_model", None), "embeddings", None)
    reserved = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    limits = [positions - (0 if reserved is None else reserved + 1), tokenizer.model_max_length]
    known = int(min(*limits, LONGEST if asked == 0 else asked))
    if known < 8:
        raise ModelUnavailable(f"A reward model that reads {known} tokens reads no conversation.")
    return known


def _score_at(reader: Reader, model: Any, asked: ScoreAt, reference: str) -> str:
    """Which token's score counts. Transformers skips trailing tokens that equal the pad token even
    where they end the turn; other trainers read them."""
    pad = model.config.get_text_config().pad_token_id
    try:
        last = reader.last_token_of(PROBE)
    except TEMPLATE_ERRORS as error:
        raise ModelUnavailable(
            f"The chat template of {reference} refuses a question and its answer: {error}"[:300]
        ) from error
    if last != pad:
        return "last" if reader.is_decoder else "head"
    scores_a_token = hasattr(
        unwrapped(model), "score"
    )  # so heads of decoders are named, old and new
    if asked == "before-padding" and scores_a_token:
        reader.dropped_at_end = pad
        return asked
    if asked == "last" and reader.is_decoder:
        return asked
    raise ModelUnavailable(
        f"The pad token of {reference} is also what ends its texts, so it cannot be told which "
        f"token's score was trained: say --score-at last (OpenRLHF) or --score-at before-padding "
        f"(TRL and other users of transformers)."
    )


def _layer_digests(model: Any, is_decoder: bool) -> tuple[str, ...]:
    """A chain of digests over a decoder's layers: two models with the same one share all up to
    there."""
    layers = getattr(getattr(model, model.base_model_prefix), "layers", None)
    if not is_decoder or layers is None:
        return ()
    config = {k: v for k, v in model.config.to_dict().items() if not k.startswith("_")}
    below = getattr(model, model.base_model_prefix).get_input_embeddings()
    chain = [digests.of_value([str(sorted(config.items())), _digest(below)])]
    for layer in layers:
        chain.append(digests.of_value([chain[-1], _digest(layer)]))
    return tuple(link[:16] for link in chain[1:])


def _digest(module: Any) -> str:
    rows = [
        [name, digests.of_bytes(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())]
        for name, tensor in sorted(module.state_dict().items())
    ]
    return digests.of_value(rows)


def _with_float_head(model: Any) -> Any:
    """The head in fp32: bf16 scores of 8 to 16 come in steps of 1/16, which makes ties."""
    body = getattr(model, model.base_model_prefix)
    for child in model.children():
        if child is not body and any(True for _ in child.parameters()):
            child.float()
            child.register_forward_pre_hook(_upcast)
    return model


def _upcast(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for value in inputs
    )
