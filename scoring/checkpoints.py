"""Registered checkpoints on this process's device: tested once, then loaded when a shard needs
them and kept for the next."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from curator.lib import work
from curator.lib.refusals import Refusal
from scoring.engine import checkpoints as engine
from scoring.engine.decoders import share_weights
from scoring.engine.keeper import Keeper
from scoring.engine.selftest import SelfTest, self_test
from scoring.environment import environment
from scoring.models import Checkpoint

logger = logging.getLogger(__name__)

keeper = Keeper()


class SelfTestFailed(Refusal):
    """The checkpoint's scores depend on how its texts are batched."""


def register(row: Checkpoint) -> None:
    """Load the checkpoint, test it, and note what it is. Raises ModelUnavailable or
    SelfTestFailed."""
    loaded = engine.load(
        row.reference,
        revision=row.revision,
        setup=_setup_of(row),
        with_layer_digests=True,
        within=_within(row),
    )
    work.renew(row)
    tested = self_test(loaded)
    found: dict[str, Any] = {
        "identity": loaded.identity.as_dict(),
        "digest": loaded.identity.digest,
        "self_test": tested.as_dict(),
        "environment": environment(device=loaded.device, precision=row.dtype),
        "revision": loaded.commit or row.revision,  # so that every host loads the same
    }
    if not tested.passed:
        work.renew(row, **found)
        raise SelfTestFailed(_why(tested))
    work.finish(row, **found)
    logger.info("registered checkpoint=%s digest=%s", row.pk, loaded.identity.digest[:12])


def loaded(row: Checkpoint) -> engine.Checkpoint:
    """The checkpoint as it was registered. Raises ModelUnavailable where its files have changed."""
    load = partial(
        engine.load,
        row.reference,
        revision=row.revision,
        setup=_setup_of(row),
        expected_digest=row.identity["weights_digest"],
        within=_within(row),
    )
    return keeper.get(row.digest, load, bytes_needed=row.bytes)


def family(rows: list[Checkpoint], shared: int) -> list[engine.Checkpoint]:
    """Several checkpoints that have their lowest layers in common, which are in memory once."""
    members = [loaded(row) for row in rows]
    share_weights(members, shared)
    return members


def _within(row: Checkpoint) -> Path | None:
    """Where the folders must lie of a model that somebody with an account has registered."""
    return None if row.created_by_id is None else settings.CHECKPOINTS_FOLDER


def _setup_of(row: Checkpoint) -> engine.Setup:
    score_at: engine.ScoreAt = "" if not row.score_at else row.score_at  # type: ignore[assignment]
    return engine.Setup(dtype=row.dtype, max_length=row.max_length, score_at=score_at)


def _why(tested: SelfTest) -> str:
    failed = [check for check in tested.checks if not check.passed]
    broken = [check.name for check in failed if check.largest is None]
    if broken:
        return f"It gives no scores in batches ({broken[0]}), only to each text alone."
    worst = max(failed, key=lambda check: check.largest or 0.0)
    return (
        f"Its scores depend on how texts are batched ({worst.name}: up to {worst.largest:.3g} "
        f"apart, where {tested.tolerance:.3g} is rounding), so they cannot be trusted."
    )
