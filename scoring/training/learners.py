"""A model on its way to becoming a reward model: a base with one score, whole or under an adapter,
in the shape in which the engine will read it afterwards."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.modeling_layers import GenericForSequenceClassification

from curator.lib import digests
from curator.lib.refusals import Refusal
from scoring.core.recipes import LORA, Model
from scoring.engine import adapters
from scoring.engine.checkpoints import (
    PROBE,
    TOKENIZER_FILES,
    check_finite,
    is_head,
    most_tokens,
    squeezes,
    tokenizer_in,
)
from scoring.engine.conversations import TEMPLATE_ERRORS, Reader, Text
from scoring.engine.folders import (
    ModelUnavailable,
    check_folder,
    digest_of_files,
    folder_of,
    open_folder_of,
)
from scoring.engine.padded import Laid

# what architectures call the share of states that they leave out while they learn
DROPOUTS = (
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "dropout",
    "embd_pdrop",
    "embedding_dropout",
    "hidden_dropout",
    "hidden_dropout_prob",
    "mlp_dropout",
    "resid_pdrop",
)
# tokens that stand for padding in tokenizers that name none
SPARE_PADS = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]")
SCALE = 2  # of an adapter's changes: alpha over rank


@dataclass
class Seen:
    """What a model makes of n texts."""

    rewards: Tensor  # (n,) in fp32
    features: Tensor  # (n, d) in fp32: what the score is read from
    states: Tensor | None  # (n, longest, d): of every token of a decoder, where asked for
    mask: Tensor  # (n, longest): 1 where there is a token of the text


@dataclass
class Learner:
    """A one-logit sequence classifier with its tokenizer, and which of its weights learn."""

    model: Any  # as transformers or peft made it
    tokenizer: Any
    reader: Reader
    reference: str  # of the base
    base_digest: str  # of the base's files
    tokenizer_digest: str
    is_decoder: bool
    is_adapter: bool
    score: Any  # the last layer of the head

    @property
    def classifier(self) -> Any:
        """The model without an adapter's wrapping; the adapter's layers are within it."""
        return self.model.get_base_model() if self.is_adapter else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def learning(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights that are trained, by name."""
        for name, weights in self.model.named_parameters():
            if weights.requires_grad:
                yield name, weights

    def see(self, texts: Sequence[Text], *, with_states: bool = False) -> Seen:
        """Rewards and features of texts, padded on the right. The token whose score counts is told
        by the mask, and the head computes in fp32."""
        laid = Laid.out(texts, pad=self.tokenizer.pad_token_id or 0)
        mask = self._sent(laid.mask)
        given = {"input_ids": self._sent(laid.tokens), "attention_mask": mask}
        if self.is_decoder:
            given["position_ids"] = self._sent(laid.positions)
            body = getattr(self.classifier, self.classifier.base_model_prefix)
            states = body(**given, use_cache=False).last_hidden_state
            features = states[torch.arange(len(texts)), self._sent(laid.last)].float()
            rewards = self.classifier.score(features)[:, 0].float()
            return Seen(rewards, features, states if with_states else None, mask)
        if (getattr(self.classifier.config, "type_vocab_size", 0) or 0) > 1:
            given["token_type_ids"] = self._sent(laid.types)
        read: list[Tensor] = []
        hook = self.score.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            rewards = self.classifier(**given).logits[:, 0].float()
        finally:
            hook.remove()
        return Seen(rewards, read[0].float(), None, mask)

    def save(self, folder: Path, *, dtype: torch.dtype) -> None:
        """Write the model as the engine and transformers read it: safetensors and tokenizer; an
        adapter with its head, in fp32, without its base."""
        if not self.is_adapter:
            self.model.to(dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft asks a base on the hub for what it needs not
            options = {"save_embedding_layers": False} if self.is_adapter else {}
            self.model.save_pretrained(str(folder), safe_serialization=True, **options)
        self.tokenizer.save_pretrained(str(folder))

    def release(self) -> None:
        """Let go of the weights; nothing can be asked of it any more."""
        self.model = self.score = None

    def _sent(self, values: Any) -> Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)


def load(
    model: Model,
    *,
    seed: int,
    revision: str = "",
    within: Path | None = None,
    half: bool = False,
) -> Learner:
    """The recipe's base, ready to learn, on the CPU.

    A head that the base lacks begins with a deviation of 1 / sqrt(h + 1), drawn by the seed. `half`
    holds the weights under an adapter in bf16; what learns is fp32 always. Where `within` is given,
    only the hub and folders in there are opened. Raises ModelUnavailable or Refusal.
    """
    reference = model.base
    folder = (
        folder_of(reference, revision or None)
        if within is None
        else open_folder_of(reference, revision, within)
    )
    if adapters.base_of(folder) is not None:
        raise ModelUnavailable(
            f"{reference} is an adapter: merge it into its base, and train that."
        )
    check_folder(folder)
    tokenizer = tokenizer_in(folder, reference)
    torch.manual_seed(seed)
    is_adapter = model.kind == LORA
    classifier = _classifier(folder, model, torch.bfloat16 if half and is_adapter else None)
    is_decoder = isinstance(classifier, GenericForSequenceClassification)
    check_finite(classifier.named_parameters(), reference)
    _check_same_vocabulary(tokenizer, classifier, reference)
    longest = most_tokens(classifier, tokenizer, model.max_length)
    reader = Reader(tokenizer, is_decoder=is_decoder, max_length=longest)
    _settle_padding(tokenizer, classifier, reader, reference)
    score = _last_of_head(classifier, reference)
    whole = _with_adapter(classifier, model, reference) if is_adapter else classifier
    if is_adapter:
        score = _last_of_head(whole.get_base_model(), reference)
    for head in _heads(whole.get_base_model() if is_adapter else whole).values():
        _in_full_precision(head)
    return Learner(
        model=whole,
        tokenizer=tokenizer,
        reader=reader,
        reference=reference,
        base_digest=digests.of_value(digest_of_files(folder)),
        tokenizer_digest=digests.of_value(digest_of_files(folder, TOKENIZER_FILES)),
        is_decoder=is_decoder,
        is_adapter=is_adapter,
        score=score,
    )


def _classifier(folder: Path, wanted: Model, dtype: torch.dtype | None) -> Any:
    """The base as a sequence classifier with one output. Its body must be in the files; its head
    may be missing."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        _check_one_score(config, wanted.base)
        config.num_labels = 1
        config.use_cache = False
        for name in DROPOUTS:
            if isinstance(getattr(config.get_text_config(), name, None), int | float):
                setattr(config.get_text_config(), name, wanted.dropout)
        classifier, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=dtype or torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager" if squeezes(config) else None,
            output_loading_info=True,
        )
    except Refusal:
        raise
    except Exception as error:  # there are many ways in which others' files can be wrong
        raise ModelUnavailable(
            f"{wanted.base} cannot be loaded as a sequence classifier: {error}"[:300]
        ) from error
    missing = sorted(report["missing_keys"])
    within_body = [name for name in missing if not is_head(name) and "pooler" not in name]
    if within_body:
        raise ModelUnavailable(
            f"{wanted.base} has no weights for {len(within_body)} parts of the model, such as "
            f"{within_body[0]}."
        )
    if any(is_head(name) for name in missing):
        score = _last_of_head(classifier, wanted.base)
        with torch.no_grad():
            score.weight.normal_(std=1.0 / math.sqrt(score.in_features + 1))
            if score.bias is not None:
                score.bias.zero_()
    return classifier


def _check_one_score(config: Any, reference: str) -> None:
    """Refuse a classifier of several outputs, whose head means something else. A language model
    has none, and says two by default."""
    architectures = getattr(config, "architectures", None) or [""]
    is_classifier = architectures[0].endswith("ForSequenceClassification")
    if is_classifier and config.num_labels != 1:
        raise ModelUnavailable(
            f"{reference} gives {config.num_labels} scores a text (num_labels); a reward model "
            f"gives one: begin from its language model."
        )


def _check_same_vocabulary(tokenizer: Any, classifier: Any, reference: str) -> None:
    known = classifier.get_input_embeddings().num_embeddings
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= known:
        raise ModelUnavailable(
            f"The tokenizer of {reference} is another model's: it has a token {largest:,}, and the "
            f"model embeds {known:,}."
        )


def _settle_padding(tokenizer: Any, classifier: Any, reader: Reader, reference: str) -> None:
    """See to it that tokenizer and configuration name one pad token, and that it ends no text: the
    scored token is told by it in transformers and elsewhere."""
    config = classifier.config.get_text_config()
    named = [tokenizer.pad_token_id, config.pad_token_id]
    vocabulary = tokenizer.get_vocab()
    spare = [vocabulary[name] for name in SPARE_PADS if name in vocabulary]
    try:
        ends = reader.last_token_of(PROBE)
    except TEMPLATE_ERRORS as error:
        raise ModelUnavailable(
            f"The chat template of {reference} refuses a question and its answer: {error}"[:300]
        ) from error
    usable = [
        pad
        for pad in [*named, *spare]
        if pad is not None and pad >= 0 and not (reader.is_decoder and pad == ends)
    ]
    if not usable:
        raise Refusal(
            f"{reference} has no pad token that ends no text, so it could not be told which "
            f"token's score counts: name an unused token as `pad_token` in its "
            f"tokenizer_config.json and as `pad_token_id` in its config.json."
        )
    tokenizer.pad_token_id = usable[0]
    config.pad_token_id = classifier.config.pad_token_id = usable[0]


def _heads(classifier: Any) -> dict[str, Any]:
    """The parts beside the body that have weights, by name."""
    body = getattr(classifier, classifier.base_model_prefix)
    return {
        name: child
        for name, child in classifier.named_children()
        if child is not body and any(True for _ in child.parameters())
    }


def _last_of_head(classifier: Any, reference: str) -> nn.Linear:
    """The layer that gives the score."""
    last = [
        layer
        for name, head in _heads(classifier).items()
        for path, layer in head.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == 1 and "original" not in path
    ]
    if not last:
        raise ModelUnavailable(f"{reference} has no layer that gives one score.")
    return last[-1]


def _with_adapter(classifier: Any, wanted: Model, reference: str) -> Any:
    """The classifier under a LoRA adapter on all linear layers of its body; the head learns
    whole."""
    prefix = classifier.base_model_prefix
    body = getattr(classifier, prefix)
    kept = list(_heads(classifier))
    if any(name.startswith("pooler") for name, _ in body.named_parameters()):
        kept.append("pooler")
    linear = {
        name.split(".")[-1]
        for name, layer in body.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith("pooler")
    }
    names = "|".join(sorted(linear))
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=wanted.rank,
        lora_alpha=SCALE * wanted.rank,
        lora_dropout=wanted.dropout,
        target_modules=rf"{prefix}\.(?!pooler)(.*\.)?({names})",
        modules_to_save=kept,
    )
    with warnings.catch_warnings():  # peft asks transformers for what it deprecates
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(classifier, config)
    path = Path(reference).expanduser()
    model.peft_config["default"].base_model_name_or_path = (
        str(path.resolve()) if path.is_dir() else reference
    )
    for _, weights in model.named_parameters():
        if weights.requires_grad:
            weights.data = weights.data.float()
    return model


def _in_full_precision(head: Any) -> None:
    """Let a head compute in fp32, whatever the rest is cast to: bf16 scores of 8 to 16 come in
    steps of 1/16."""
    head.float()
    forward = head.forward

    def in_float(*inputs: Any, **named: Any) -> Any:
        kind = next(head.parameters()).device.type
        with torch.autocast(device_type=kind, enabled=False):
            return forward(*(_as_float(value) for value in inputs), **named)

    head.forward = in_float


def _as_float(value: Any) -> Any:
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if is_float else value
