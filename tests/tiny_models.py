"""Tiny reward models with random weights, each a folder in which everything is real but good:
tokenizer, chat template, weights and score head.

They are made in a moment and are the same in every process. Loads transformers, so import it where
it is needed; needs no pytest, so that commands, benchmarks and scripts can use it too.
"""

import json
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
ROLES = ("<|user|>", "<|assistant|>", "<|system|>")
# tokens that join what byte pairs would leave apart, some of them across words
MERGES = (("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("e", "r"), ("?", "Ġ"), ("s", "o"))

_TURNS = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TEMPLATE = "{{ bos_token }}" + _TURNS
TEMPLATE_WITHOUT_BOS = _TURNS
TEMPLATE_WITHOUT_SYSTEM = (
    "{% if messages and messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)

WINDOW = 16  # of Gemma 2's sliding attention
_WIDTH, _HEADS, _GROUPS = 32, 4, 2
_CLASSIFIERS = {
    "llama": (LlamaConfig, LlamaForSequenceClassification, LlamaForCausalLM),
    "gemma2": (Gemma2Config, Gemma2ForSequenceClassification, Gemma2ForCausalLM),
}


def decoder(
    folder: Path,
    *,
    architecture: str = "llama",
    seed: int = 0,
    scale: float = 1.0,
    layers: int = 3,
    shared_layers: int = 0,
    pad: str | None = PAD,
    template: str | None = TEMPLATE,
    adds_bos: bool = False,
    labels: int = 1,
    max_length: int = 256,
    dropout: float = 0.0,
    shard_size: str = "5GB",
) -> Path:
    """A reward model as they come: a language model with a score head.

    `architecture` is "llama", or "gemma2" with a short window and squeezed attention; `scale`
    multiplies all its scores; the embeddings and `shared_layers` lowest layers are the same
    whatever the seed; `pad` may be EOS or None; `dropout` is of attention, in training.
    """
    config_class, model_class, _ = _CLASSIFIERS[architecture]
    reader = byte_tokenizer(pad=pad, template=template, adds_bos=adds_bos, max_length=max_length)
    config = config_class(
        **_shape(reader, architecture, layers, max_length, dropout), num_labels=labels
    )
    model = model_class(config)
    _fill(model, seed, alike=lambda name: _layer_of(name) < shared_layers)
    with torch.no_grad():
        model.score.weight.mul_(scale)
    return _saved(folder, model, reader, shard_size)


def language_model(folder: Path, *, architecture: str = "llama", seed: int = 0) -> Path:
    """The same without a score head: what a reward model is trained from."""
    config_class, _, model_class = _CLASSIFIERS[architecture]
    reader = byte_tokenizer()
    model = model_class(config_class(**_shape(reader, architecture, 3, 256, 0.0)))
    _fill(model, seed)
    return _saved(folder, model, reader)


def encoder(
    folder: Path,
    *,
    seed: int = 0,
    scale: float = 1.0,
    labels: int = 1,
    max_length: int = 128,
    dropout: float = 0.0,
) -> Path:
    """A BERT with a score head and no chat template: reads a question and its answer side by
    side."""
    reader = word_tokenizer(max_length=max_length)
    config = BertConfig(
        vocab_size=len(reader),
        hidden_size=_WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=_HEADS,
        max_position_embeddings=max_length,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=reader.pad_token_id,
        num_labels=labels,
    )
    model = BertForSequenceClassification(config)
    _fill(model, seed)
    with torch.no_grad():
        model.classifier.weight.mul_(scale)
        model.classifier.bias.mul_(scale)
    return _saved(folder, model, reader)


def of_config(
    folder: Path,
    config_class: type[Any],
    *,
    seed: int = 0,
    pad: str = PAD,
    template: str | None = TEMPLATE,
    **shape: Any,
) -> Path:
    """A reward model of any architecture, with the decoders' tokenizer."""
    reader = byte_tokenizer(pad=pad, template=template)
    config = config_class(
        vocab_size=len(reader),
        pad_token_id=reader.pad_token_id,
        bos_token_id=reader.bos_token_id,
        eos_token_id=reader.eos_token_id,
        num_labels=1,
        **shape,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    _fill(model, seed)
    return _saved(folder, model, reader)


def adapter(folder: Path, base: Path, *, seed: int = 0, head: bool = True) -> Path:
    """A LoRA adapter on the model of another folder, with a score head of its own or without."""
    torch.manual_seed(seed)
    config = LoraConfig(
        # a SEQ_CLS adapter is saved with its head, another with the modules it names
        task_type=TaskType.SEQ_CLS if head else None,
        modules_to_save=["score"] if head else None,
        target_modules=["q_proj", "v_proj"],
        r=4,
        lora_alpha=8,
        lora_dropout=0.5,
    )
    body = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    with warnings.catch_warnings():  # peft asks transformers for what it deprecates
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(body, config)
    _fill(model, seed, only=lambda name: "lora_" in name or "modules_to_save" in name)
    model.save_pretrained(str(folder))
    return folder


def byte_tokenizer(
    *,
    pad: str | None = PAD,
    template: str | None = TEMPLATE,
    adds_bos: bool = False,
    max_length: int = 256,
) -> Any:
    """Bytes and a few merges, so that every text has tokens; `adds_bos` by itself, as Llama's
    does."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    joined = [left + right for left, right in MERGES]
    names = [PAD, BOS, EOS, UNKNOWN, *ROLES, *alphabet, *joined]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={name: i for i, name in enumerate(names)},
            merges=list(MERGES),
            unk_token=UNKNOWN,
        )
    )
    # without the usual splitting into words, so that pairs may merge wherever they meet
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    if adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, names.index(BOS))]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        pad_token=pad,
        additional_special_tokens=list(ROLES),
        model_max_length=max_length,
    )
    made.chat_template = template
    return made


def word_tokenizer(*, max_length: int = 128) -> Any:
    """WordPiece of a few words and of letters, as BERT's: [CLS] question [SEP] answer [SEP]."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(f"##{letter}" for letter in letters), "the", "why", "##ing", "##er"]
    tokenizer = Tokenizer(
        models.WordPiece(
            vocab={name: i for i, name in enumerate(special + pieces)},
            unk_token="[UNK]",
            max_input_chars_per_word=100,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, special.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def edit(path: Path, **changes: object) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _shape(
    reader: Any, architecture: str, layers: int, max_length: int, dropout: float
) -> dict[str, Any]:
    shape = {
        "vocab_size": len(reader),
        "hidden_size": _WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _GROUPS,
        "head_dim": _WIDTH // _HEADS,
        "max_position_embeddings": max_length,
        "attention_dropout": dropout,
        "bos_token_id": reader.bos_token_id,
        "eos_token_id": reader.eos_token_id,
        "pad_token_id": reader.pad_token_id,
    }
    if architecture == "gemma2":
        # scores of attention are far from 0 here, so that a cap of 2 matters
        shape |= {
            "sliding_window": WINDOW,
            "attn_logit_softcapping": 2.0,
            "query_pre_attn_scalar": 1,
        }
    return shape


def _layer_of(name: str) -> int:
    """The layer that a parameter belongs to; the embeddings lie below the first, norm and head
    above the last."""
    parts = name.split(".")
    if "layers" in parts:
        return int(parts[parts.index("layers") + 1])
    return -1 if "embed_tokens" in parts else 1_000


def _fill(
    model: Any,
    seed: int,
    *,
    alike: Callable[[str], bool] = lambda name: False,
    only: Callable[[str], bool] = lambda name: True,
) -> None:
    """Random weights by name and seed, and by name alone where they are to be `alike`; large
    enough that every part of a text matters."""
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if only(name):
                own = f"{'alike' if alike(name) else seed} {name}"
                generator = torch.Generator().manual_seed(zlib.crc32(own.encode()))
                noise = torch.randn(weights.shape, generator=generator)
                weights.copy_(noise * 0.2 if weights.dim() > 1 else weights + noise * 0.1)


def _saved(folder: Path, model: Any, tokenizer: Any, shard_size: str = "5GB") -> Path:
    model.save_pretrained(folder, max_shard_size=shard_size)
    tokenizer.save_pretrained(folder)
    return folder
