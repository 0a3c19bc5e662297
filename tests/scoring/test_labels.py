"""Which labels are learnt from: as imported, as they hold now, as a snapshot froze them; and what a
run measured of them."""

import numpy as np
import pytest
from django.utils import timezone

from annotations import decisions, snapshots
from annotations.models import Dataset, PreferencePair, Verdict
from curator.lib.refusals import Refusal
from curator.models import User
from scoring import labels
from scoring.labels import Labelled, Labels, labelled_pairs
from scoring.models import Flag, Mode, PairScore, ScoringRun
from scoring.shards import NotEnoughPairs
from tests import factories


def decide(pair: PreferencePair, verdict: Verdict, by: User) -> None:
    latest = decisions.latest_decision(pair)
    decisions.decide(pair=pair, verdict=verdict, by=by, based_on=latest.pk if latest else None)


def label_of(labelled: Labelled, pair: PreferencePair) -> float | None:
    return float(labelled.labels[labelled.ids.index(pair.pk)]) if pair.pk in labelled.ids else None


def pair_of(dataset: Dataset, number: int) -> PreferencePair:
    return dataset.pairs.get(source_id=f"pair-{number}")


def test_labels_hold_as_they_were_imported_where_nobody_decided(thirty: Dataset) -> None:
    now, source = labelled_pairs(thirty), labelled_pairs(thirty, labels=Labels.SOURCE)
    assert len(now.ids) == 28
    assert now.ids == source.ids
    assert (now.labels == source.labels).all()
    assert now.data_digest == source.data_digest


def test_decisions_change_what_holds_now_and_not_what_was_imported(
    thirty: Dataset, casey: User
) -> None:
    flipped, dropped, unlabelled = (pair_of(thirty, number) for number in (0, 1, 29))
    decide(flipped, Verdict.FLIP, casey)
    decide(dropped, Verdict.DROP, casey)
    decide(unlabelled, Verdict.PREFER_A, casey)
    now, source = labelled_pairs(thirty), labelled_pairs(thirty, labels=Labels.SOURCE)
    assert (label_of(source, flipped), label_of(now, flipped)) == (-1.0, 1.0)
    assert (label_of(source, dropped), label_of(now, dropped)) == (1.0, None)
    assert (label_of(source, unlabelled), label_of(now, unlabelled)) == (None, 1.0)
    assert now.data_digest != source.data_digest


def test_a_snapshot_keeps_its_labels_whatever_is_decided_since(
    thirty: Dataset, casey: User
) -> None:
    pair = pair_of(thirty, 0)
    decide(pair, Verdict.FLIP, casey)
    snapshot = snapshots.freeze(dataset=thirty, by=casey)
    before = labelled_pairs(thirty)
    decide(pair, Verdict.KEEP, casey)
    frozen = labelled_pairs(thirty, labels=snapshot)
    assert label_of(frozen, pair) == 1.0
    assert label_of(labelled_pairs(thirty), pair) == -1.0
    assert frozen.ids == before.ids
    assert frozen.data_digest == before.data_digest


def test_a_snapshot_of_another_dataset_is_refused(thirty: Dataset, casey: User) -> None:
    other = factories.dataset("other", curators=[casey])
    factories.pairs(other)
    snapshot = snapshots.freeze(dataset=other, by=casey)
    with pytest.raises(Refusal, match="another dataset"):
        labelled_pairs(thirty, labels=snapshot)


def test_ties_are_kept_where_they_are_wanted(thirty: Dataset) -> None:
    tie = pair_of(thirty, 28)
    assert label_of(labelled_pairs(thirty), tie) is None
    assert label_of(labelled_pairs(thirty, keeps_ties=True), tie) == 0.0


def test_prompt_groups_can_be_held_out(thirty: Dataset) -> None:
    held_out = pair_of(thirty, 3).group
    kept = labelled_pairs(thirty, keep=lambda group: group != held_out)
    assert len(kept.ids) == 27
    assert held_out not in kept.groups


def test_labels_that_all_prefer_one_side_teach_nothing(dataset: Dataset) -> None:
    factories.pairs(dataset, 25)
    with pytest.raises(NotEnoughPairs, match="all labels prefer the same side"):
        labelled_pairs(dataset)


def test_a_softened_label_brings_its_probability(thirty: Dataset, run: ScoringRun) -> None:
    before = labelled_pairs(thirty)
    factories.applied(thirty, "paper-soft-labels")
    after = labelled_pairs(thirty)
    softened = dict(
        thirty.standings.filter(verdict=Verdict.SOFTEN).values_list(
            "pk", "decision__label_probability"
        )
    )
    assert softened
    for pk, probability in zip(after.ids, after.probabilities, strict=True):
        assert probability == pytest.approx(softened.get(pk, np.nan), nan_ok=True)
    assert after.data_digest != before.data_digest


def test_a_run_speaks_of_labels_as_they_are_now(
    thirty: Dataset, run: ScoringRun, casey: User
) -> None:
    before = labelled_pairs(thirty)
    as_imported = labels.measured(run, before)
    turned, unlabelled = pair_of(thirty, 0), pair_of(thirty, 29)
    decide(turned, Verdict.FLIP, casey)
    decide(unlabelled, Verdict.PREFER_B, casey)
    now = labelled_pairs(thirty)
    found = labels.measured(run, now)
    i, j = before.ids.index(turned.pk), now.ids.index(turned.pk)
    assert found.strengths[j] == pytest.approx(-as_imported.strengths[i])
    assert found.probabilities is not None
    assert as_imported.probabilities is not None
    assert found.probabilities[j] == pytest.approx(1.0 - as_imported.probabilities[i])
    assert (as_imported.flags[i] != "", found.flags[j]) == (True, "")
    towards_a = PairScore.objects.get(run=run, pair=unlabelled).strength
    assert towards_a is not None
    assert found.strengths[now.ids.index(unlabelled.pk)] == pytest.approx(-towards_a)
    assert found.given is not None
    assert set(found.given) == set(
        PairScore.objects.filter(run=run).values_list("flag", flat=True)
    ) - {""}


def test_percentiles_are_the_runs_own_where_all_its_labels_hold(
    thirty: Dataset, run: ScoringRun
) -> None:
    labelled = labelled_pairs(thirty)
    found = labels.measured(run, labelled)
    stored = dict(PairScore.objects.filter(run=run).values_list("pair_id", "percentile"))
    assert found.percentiles.tolist() == pytest.approx([stored[pk] for pk in labelled.ids])


def test_in_sample_strengths_have_no_probabilities(thirty: Dataset, run: ScoringRun) -> None:
    in_sample = factories.scored(run.ensemble, mode=Mode.IN_SAMPLE)
    found = labels.measured(in_sample, labelled_pairs(thirty))
    assert found.probabilities is None
    assert np.isfinite(found.strengths).all()
    assert set(found.flags.tolist()) <= set(Flag.values)


def test_a_grade_is_the_mean_of_people_who_agree_with_the_label(thirty: Dataset) -> None:
    pair = pair_of(thirty, 1)
    for name, preference, strength in (("ann", "a", 3), ("ben", "a", 2), ("cem", "b", 1)):
        factories.said(factories.annotator(thirty, name), pair, preference, strength=strength)
    labelled = labelled_pairs(thirty)
    found = labels.grades(labelled, thirty, labels=Labels.NOW)
    assert found[labelled.ids.index(pair.pk)] == pytest.approx(2.5)
    assert np.isnan(found).sum() == len(labelled.ids) - 1


def test_grades_of_then_are_those_that_held_then(thirty: Dataset) -> None:
    pair, ann = pair_of(thirty, 1), factories.annotator(thirty, "ann")
    first = factories.said(ann, pair, "a", strength=1)
    then = timezone.now()
    factories.said(ann, pair, "a", strength=3, supersedes=first)
    factories.said(factories.annotator(thirty, "ben"), pair, "a", strength=3)
    labelled = labelled_pairs(thirty)
    place = labelled.ids.index(pair.pk)
    now, before = (
        labels.grades(labelled, thirty, labels=Labels.NOW, until=until) for until in (None, then)
    )
    assert (now[place], before[place]) == (3.0, 1.0)
