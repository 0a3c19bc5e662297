"""Run decoders over packed trees: each architecture's own code, and three things of ours around it.

Attention goes by `attention.py`; the last layer computes keys and values of all tokens but the rest
only for those whose score counts; layers that several members have in common are run once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scoring.core.options import EngineOptions
from scoring.engine.attention import FLEX, SDPA, Layout
from scoring.engine.checkpoints import Checkpoint
from scoring.engine.prefix import Pack


class _KeysKnown(Exception):
    """Raised to leave a layer as soon as its keys and values are computed."""


class _Keys:
    """Stands in for a cache: takes a layer's keys and values, then gives them to all who ask."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            self.keys, self.values = keys, values
            raise _KeysKnown
        return self.keys, self.values


class _Pruned(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A last layer that goes on only with the tokens whose score counts."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self,
        states: Tensor,
        *,
        layout: Layout,
        position_embeddings: Any,
        position_ids: Tensor,
        past_key_values: Any = None,
        **others: Any,
    ) -> Any:
        keys = _Keys()
        try:
            self.layer(
                states,
                layout=layout,
                position_embeddings=position_embeddings,
                position_ids=position_ids,
                past_key_values=keys,
                **others,
            )
        except _KeysKnown:
            scored = layout.of_scored()
            places = torch.from_numpy(scored.queries).to(states.device)
            return self.layer(
                states[:, places],
                layout=scored,
                position_embeddings=_at(position_embeddings, places),
                position_ids=position_ids[:, places],
                past_key_values=keys,
                **others,
            )
        raise NotPrunable


class NotPrunable(Exception):
    """The architecture's layers keep their keys in another way than we know."""


def _at(embeddings: Any, places: Tensor) -> Any:
    """Rotary embeddings (cos, sin), each (1, t, d), of some tokens."""
    return tuple(part[:, places] for part in embeddings)


class _Kept(nn.Module):  # type: ignore[misc]
    """A layer that keeps what it gives out, for the members that share it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.states: Tensor | None = None

    def forward(self, states: Tensor, **others: Any) -> Tensor:
        self.states = self.layer(states, **others)
        return self.states


class _Given(nn.Module):  # type: ignore[misc]
    """Stands in for layers that were run already: gives out what was kept."""

    def __init__(self, kept: _Kept | None) -> None:
        super().__init__()
        self.kept = [kept]  # in a list, so that it is no child of ours

    def forward(self, states: Tensor, **_: Any) -> Tensor:
        kept = self.kept[0]
        if kept is None:
            return states
        assert kept.states is not None
        return kept.states


class PackedDecoders:
    """Members of one tokenizer and template, of which the first `shared` layers are the same."""

    def __init__(
        self, members: Sequence[Checkpoint], *, shared: int, options: EngineOptions
    ) -> None:
        self.members = members
        self.shared = shared if options.share_trunks and len(members) > 1 else 0
        self.options = options
        self.prunes = options.prune_last_layer
        self.attention = _attention(members[0].device, options)
        self.own_layers = [list(member.body.layers) for member in members]
        if options.compile:
            for layers in self.own_layers:
                _compile(layers)

    @property
    def path(self) -> str:
        """How texts go through, in a word for the record."""
        return f"packed, {self.attention.removeprefix('curator_')}"

    def rewards(self, pack: Pack) -> Tensor:
        """Rewards (texts, members) in fp32 of the pack's texts, tree by tree."""
        first = self.members[0]
        layout = Layout.of(pack, first.device, first.dtype)
        tokens = torch.from_numpy(pack.tokens)[None].to(first.device)
        positions = torch.from_numpy(pack.positions)[None].to(first.device)
        columns, kept = [], None
        with torch.inference_mode():
            for number, member in enumerate(self.members):
                member.select()
                layers = list(self.own_layers[number])
                if self.prunes:
                    layers[-1] = _Pruned(layers[-1])
                if kept is not None:
                    layers[: self.shared] = [_Given(None)] * (self.shared - 1) + [_Given(kept)]
                elif self.shared:
                    kept = _Kept(layers[self.shared - 1])
                    layers[self.shared - 1] = kept
                with self._prepared(member, layers):
                    states = member.body(
                        input_ids=tokens, position_ids=positions, layout=layout, use_cache=False
                    ).last_hidden_state[0]
                columns.append(self._scores(member, states, layout))
        return torch.stack(columns, dim=1)

    def _scores(self, member: Checkpoint, states: Tensor, layout: Layout) -> Tensor:
        """Scores (texts,) by the head in fp32."""
        places = layout.pack.leaves
        if self.prunes:
            places = np.searchsorted(layout.of_scored().queries, places)
        leaves = states[torch.from_numpy(places).to(states.device)]
        return member.model.score(leaves.float())[:, 0].float()

    def give_up_pruning(self) -> None:
        """From now on the last layer is run for all tokens."""
        self.prunes = False

    @contextmanager
    def _prepared(self, member: Checkpoint, layers: list[nn.Module]) -> Iterator[None]:
        """The member with our attention and layers for one pass, and as it was afterwards."""
        body, config = member.body, member.body.config
        before, attention = body.layers, config._attn_implementation
        body.layers = nn.ModuleList(layers)
        config._attn_implementation = self.attention
        try:
            yield
        finally:
            body.layers = before
            config._attn_implementation = attention


def can_pack(member: Checkpoint) -> bool:
    """Whether the architecture is made of layers in the way that this module knows."""
    layers = getattr(member.body, "layers", None)
    return member.identity.is_decoder and isinstance(layers, nn.ModuleList)


def depends_on_longest(member: Checkpoint) -> bool:
    """Whether the model chooses its rotary frequencies by the longest text of a batch."""
    config = member.model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    return any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds)


def shared_layers(chains: Sequence[Sequence[str]]) -> int:
    """How many layers from below are the same in all models, by their chains of digests."""
    for depth, links in enumerate(zip(*chains, strict=False)):
        if len(set(links)) > 1:
            return depth
    return min(map(len, chains), default=0)


def share_weights(members: Sequence[Checkpoint], shared: int) -> None:
    """Let all members use the first one's tensors for embeddings and the `shared` lowest layers,
    whose digests are the same, so that they are in memory once. Each keeps modules of its own,
    since a module goes by its model's configuration."""
    first = members[0].body
    for member in members[1:] if shared else []:
        _take_over(first.get_input_embeddings(), member.body.get_input_embeddings())
        for theirs, own in list(zip(first.layers, member.body.layers, strict=True))[:shared]:
            _take_over(theirs, own)


def _take_over(theirs: nn.Module, own: nn.Module) -> None:
    own.load_state_dict(theirs.state_dict(keep_vars=True), assign=True)


def _attention(device: torch.device, options: EngineOptions) -> str:
    if options.attention == "auto":
        return FLEX if device.type == "cuda" else SDPA
    return FLEX if options.attention == "flex" else SDPA


def _compile(layers: Sequence[nn.Module]) -> None:
    """Norms and feed-forward parts as fused kernels, whatever the number of tokens."""
    for layer in layers:
        for name, part in layer.named_children():
            if "norm" in name or name == "mlp":
                part.compile(dynamic=True)
