"""The overview: how bad, where, what next; for curators only, and never a scan of what is large."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotations import commenting, decisions, filters
from annotations.models import Dataset, Verdict
from curator.models import User, WorkerProcess
from scoring import alerts, counting, freezing, leanings, overviews, reports, strengths, tasks
from scoring.alerts import Severity
from scoring.models import (
    Arm,
    DatasetFigures,
    Experiment,
    Flag,
    ReviewSample,
    SampledPair,
    ScoringRun,
)
from tests import factories
from tests.scenarios import Scene


def page_of(dataset: Dataset, desk: Client, **headers: Any) -> Any:
    return desk.get(reverse("scoring:overview", args=[dataset.slug]), headers=headers or None)


def text_of(answer: Any) -> str:
    words = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", answer.content.decode(), flags=re.S)
    return " ".join(unescape(words).split())


def sentences(dataset: Dataset) -> list[str]:
    return [alert.sentence for alert in alerts.alerts_of(reports.standing(dataset))]


def found_by(dataset: Dataset, address: str) -> list[int]:
    """The pairs of the list under the filter of the address."""
    asked = filters.from_query(QueryDict(address.partition("?")[2]))
    assert asked.problems == ()
    found = dataset.standings.filter(filters.where(asked.clauses))
    return list(found.order_by("pk").values_list("pk", flat=True))


def scored(dataset: Dataset, flags: list[str], **summary: Any) -> ScoringRun:
    """A current run that found these flags of the dataset's first pairs."""
    pairs = list(dataset.pairs.order_by("pk")[: len(flags)])
    found = {pair.pk: (0.1 * place, flags[place]) for place, pair in enumerate(pairs)}
    run = factories.judged(dataset, found)
    for pair_id, (strength, flag) in found.items():
        dataset.standings.filter(pk=pair_id).update(flag=flag, strength=strength, run_id=run.pk)
    run.summary |= {"cut_by": "confident learning", **summary}
    run.save(update_fields=["summary"])
    return run


# --- The page -------------------------------------------------------------------------------------


@pytest.fixture
def desk(scene: Scene, client: Client) -> Client:
    client.force_login(scene.curator)
    return client


def test_the_overview_of_a_real_run_shows_every_view_of_it(scene: Scene, desk: Client) -> None:
    answer = page_of(scene.dataset, desk)
    page = text_of(answer)
    assert answer.context["figures"].keys() == {"histogram", "map", "profile", "length"}
    for heading in (
        "How bad is it?",
        "Where is it worst?",
        "What to do next",
        "Preference strength",
        "Strength and spread",
        "Tenths of the labels",
        "Spread by strength",
        "Do others agree?",
        "Length",
        "Side",
    ):
        assert heading in page
    assert "Nobody else has labelled these pairs yet" in page
    assert len(answer.context["bands"]) == 10
    shares = scene.run.summary["contradicted"]
    assert f"{100 * shares['estimate']:.1f} % (" in page


def test_what_decisions_changed_is_told_before_and_after(scene: Scene, desk: Client) -> None:
    """A flip that a person made looking at the pair takes one wrong label from the estimate and
    turns its strength round; a tie takes the label out."""
    assert page_of(scene.dataset, desk).context["labels"] is None
    weakest, next_one = scene.dataset.standings.filter(flag__gt="").order_by("strength")[:2]
    for standing, verdict in ((weakest, Verdict.FLIP), (next_one, Verdict.TIE)):
        decisions.decide(pair=standing.pair, by=scene.curator, verdict=verdict, based_on=None)
    scene.run.summary |= {
        "noise_rate": {"estimate": 0.25, "low": 0.1, "high": 0.5},
        "noise_rate_is_known": True,
    }
    scene.run.save(update_fields=["summary"])
    answer = page_of(scene.dataset, desk)
    before, after = answer.context["labels"]
    assert (before.count, after.count) == (28, 27)
    assert after.wrong.estimate == pytest.approx((0.25 * 28 - 1) / 27)
    assert after.strength > before.strength
    assert "What the decisions changed" in text_of(answer)


def test_precision_of_flags_is_told_as_on_the_page_of_evidence(scene: Scene, desk: Client) -> None:
    two = list(scene.dataset.standings.filter(flag__gt="").order_by("strength")[:2])
    scene.dataset.standings.update(flag="clear")
    scene.dataset.standings.filter(pk__in=[row.pk for row in two]).update(flag="flipped")
    for standing, verdict in zip(two, (Verdict.FLIP, Verdict.TIE), strict=True):
        decisions.decide(pair=standing.pair, by=scene.curator, verdict=verdict, based_on=None)
    said = text_of(page_of(scene.dataset, desk)).replace("\u202f", " ")
    assert "of 2 that people decided one by one, 1 was wrong: 50 %" in said
    assert "1 was made a tie or dropped and counts as not wrong" in said
    assert "2 by people one by one, 0 by policies" in said


def test_a_queue_for_review_is_called_so_wherever_flags_are_counted(
    scene: Scene, desk: Client
) -> None:
    scene.run.summary |= {"cut_by": "review budget", "accuracy": 0.55}
    scene.run.save(update_fields=["summary"])
    sentence = overviews.cut_sentence(scene.run.summary)
    assert "a review queue, not as a verdict" in sentence
    assert sentence in text_of(page_of(scene.dataset, desk))
    assert sentence in text_of(desk.get(reverse("scoring:datasets")))
    assert sentence in text_of(desk.get(reverse("scoring:run", args=["scene", scene.run.pk])))
    pair = scene.dataset.standings.undecided().earliest("pk").pair
    decisions.decide(pair=pair, by=scene.curator, verdict=Verdict.KEEP, based_on=None)
    assert sentence in freezing.freeze(dataset=scene.dataset, by=None).card.text


def test_charts_say_what_they_mean_for_this_dataset(scene: Scene, desk: Client) -> None:
    said = text_of(page_of(scene.dataset, desk)).replace("\u202f", " ")
    assert "The models differ by" in said
    assert "Of the weakest group" in said
    assert "In the paper" not in said


@pytest.mark.parametrize(
    ("spreads", "says"),
    [
        ([0.9, 0.9, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.9, 0.9], "more at both ends than in between"),
        ([0.4] * 8 + [0.9, 0.9], "more on the strongest labels alone"),
        ([0.5] * 10, "about as much everywhere"),
    ],
)
def test_the_spread_is_told_as_it_lies(spreads: list[float], says: str) -> None:
    groups = [
        {"strength": place / 5 - 0.9, "spread": spread} for place, spread in enumerate(spreads)
    ]
    assert says in leanings.spread_sentence(ScoringRun(summary={"profile": groups}))


def test_every_number_leads_to_as_many_pairs(scene: Scene, desk: Client) -> None:
    """Bars, tenths and groups by length: the list of pairs has as many rows as they say."""
    context = page_of(scene.dataset, desk).context
    groups = [(bar.count, bar.pairs) for bar in context["bars"] if bar.count]
    assert sum(count for count, _ in groups) == 28
    groups += [(band.group["count"], band.pairs) for band in context["bands"]]
    groups += [(row.group["count"], row.pairs) for row in context["lengths"]]
    for count, query in groups:
        assert len(found_by(scene.dataset, f"?{query}")) == count, query


def test_an_annotator_sees_what_they_are_asked_and_a_stranger_nothing(
    scene: Scene, client: Client
) -> None:
    client.force_login(scene.annotator)
    assert "How bad" not in text_of(page_of(scene.dataset, client))
    client.force_login(scene.stranger)
    assert page_of(scene.dataset, client).status_code == 404
    assert client.post(reverse("scoring:overview", args=["scene"])).status_code in (404, 405)


def test_what_people_say_is_drawn_beside_the_labels(scene: Scene, desk: Client) -> None:
    bert = factories.annotator(scene.dataset, "bert")
    flagged = scene.dataset.standings.exclude(flag="").first()
    assert flagged is not None
    factories.said(bert, flagged.pair, flagged.source_preference)
    answer = page_of(scene.dataset, desk)
    [source] = answer.context["sources"]
    assert (source.name, source.compared) == ("people", 1)
    assert "agreement" in answer.context["figures"]
    [bin] = source.bins
    assert flagged.pk in found_by(scene.dataset, f"?{bin.pairs}")


def test_a_run_of_an_earlier_release_shows_what_it_has(scene: Scene, desk: Client) -> None:
    for name in ("deciles", "profile", "contradicted", "length", "position"):
        scene.run.summary.pop(name)
    scene.run.save(update_fields=["summary"])
    answer = page_of(scene.dataset, desk)
    assert answer.status_code == 200
    assert answer.context["figures"].keys() == {"histogram", "map"}
    assert "Tenths of the labels" not in text_of(answer)


def test_the_map_of_many_labels_shows_their_density(
    scene: Scene, desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strengths, "MAP_POINTS", 10)
    run = factories.scored(scene.ensemble)
    assert run.summary["map"]["pair"] == []
    counts = run.summary["density"]["counts"]
    assert sum(count for cells in counts.values() for _, count in cells) == 28
    [cells] = page_of(scene.dataset, desk).context["figures"]["map"]["data"]
    assert cells["meta"]["heat"] is True
    assert len(cells["x"]) == len(cells["base"]) == len(cells["text"])
    assert max(cells["marker"]["color"]) == 1.0


def test_hostile_names_stay_text(as_casey: Client, dataset: Dataset) -> None:
    evil = '<script>alert("x")</script>'
    rows = [factories.row(number, source=(evil, "fine")[number % 2]) for number in range(40)]
    factories.imported(dataset, rows)
    flags = [("flipped", "clear")[number % 2] for number in range(40)]
    run = scored(dataset, flags, below_zero=0.5, accuracy=0.9)
    edges = [-1.0, 0.0, 5.0]
    by_flag = {flag: [0, flags.count(flag)] for flag in Flag.values}
    run.summary |= {
        "histogram": {"edges": edges, "by_flag": by_flag},
        "map": {"pair": [], "strength": [], "spread": [], "flag": []},
    }
    run.save(update_fields=["summary"])
    page = page_of(dataset, as_casey).content.decode()
    assert evil not in page
    assert "&lt;script&gt;alert" in page


# --- Alerts ---------------------------------------------------------------------------------------


def test_the_first_steps_are_named_one_after_the_other(dataset: Dataset) -> None:
    assert sentences(dataset) == ["There are no pairs yet."]
    factories.pairs(dataset)
    assert sentences(dataset) == ["No model has looked at the pairs yet."]
    scored(dataset, ["flipped", "clear", "clear"])
    assert sentences(dataset) == ["1 likely flipped label waits for a decision."]
    factories.imported(dataset, [factories.row(50), factories.row(51)])
    assert sentences(dataset)[0].startswith("2 pairs came after the last run")


def test_what_stopped_goes_before_what_waits(dataset: Dataset) -> None:
    factories.pairs(dataset)
    run = scored(dataset, ["flipped", "clear", "clear"])
    later = ScoringRun.objects.create(dataset=dataset, ensemble=run.ensemble, status="running")
    first, *_, last = alerts.alerts_of(reports.standing(dataset))
    assert first.severity == Severity.STOPPED
    assert "no scoring worker is alive" in first.sentence
    assert first.url == reverse("machinery")
    assert last.sentence == "1 likely flipped label waits for a decision."
    WorkerProcess.objects.create(
        name="w@elsewhere",
        queues=["scoring"],
        process=1,
        started_at=timezone.now(),
        heartbeat_at=timezone.now(),
    )
    assert f"Run {later.pk} is running: 0\u202f% is scored." in sentences(dataset)
    ScoringRun.objects.filter(pk=later.pk).update(paused_at=timezone.now())
    assert sentences(dataset)[0] == f"Run {later.pk} is paused."
    ScoringRun.objects.filter(pk=later.pk).update(status="failed", problem="A disk is full.")
    assert sentences(dataset)[0] == f"Run {later.pk} failed. A disk is full."


def test_a_run_that_failed_before_the_current_one_is_of_no_interest(dataset: Dataset) -> None:
    factories.pairs(dataset)
    run = scored(dataset, ["clear"] * 3)
    ScoringRun.objects.create(pk=run.pk + 5, dataset=dataset, ensemble=run.ensemble, status="done")
    ScoringRun.objects.filter(pk=run.pk + 5).update(summary=run.summary)
    ScoringRun.objects.filter(pk=run.pk).update(status="failed", problem="x")
    assert sentences(dataset) == []


def test_models_that_know_too_little_or_go_by_length_are_warned_of(dataset: Dataset) -> None:
    factories.pairs(dataset)
    scored(dataset, ["clear"] * 3, cut_by="review budget", accuracy=0.58, length_confound=-0.4)
    doubts = sentences(dataset)
    assert "agree with only 58\u202f% of the labels" in doubts[0]
    assert "prefer the longer response are flagged more readily" in doubts[1]


def test_disputes_comments_and_what_a_policy_put_forward_are_named(
    dataset: Dataset, casey: User
) -> None:
    one, other, third = factories.pairs(dataset)
    scored(dataset, ["clear"] * 3)
    for name, said in (("anna", "a"), ("bert", "b")):
        factories.said(factories.annotator(dataset, name), one, said)
    dataset.standings.all().count_voices()
    commenting.comment(pair=other, by=casey, text="Both are poor.")
    batch = dataset.batches.create(kind="policy", actor="casey", status="done")
    dataset.standings.filter(pk=third.pk).update(put_forward_by=batch)
    dataset.batches.update(finished_at=timezone.now())
    found = sentences(dataset)
    assert "A policy put 1 pair forward for people to look at." in found
    assert "People disagree on 1 pair that nobody has decided." in found
    assert "1 comment in the last 7 days." in found


def test_broken_pairs_lead_to_a_list_of_them(dataset: Dataset) -> None:
    one, *_ = factories.pairs(dataset)
    scored(dataset, ["clear"] * 3)
    dataset.standings.filter(pk=one.pk).update(checks=1 | 256)
    [alert] = alerts.alerts_of(reports.standing(dataset))
    assert alert.sentence.startswith("1 undecided pair cannot be right")
    assert found_by(dataset, alert.url) == [one.pk]


def test_a_sample_is_named_when_little_of_it_is_left(dataset: Dataset, casey: User) -> None:
    pairs = factories.pairs(dataset, 6)
    run = scored(dataset, ["clear"] * 6)
    sample = ReviewSample.objects.create(run=run, size=6)
    for place, pair in enumerate(pairs):
        SampledPair.objects.create(
            sample=sample, pair=pair, position=place, stratum=0, flag="clear"
        )
    for pair in pairs[:5]:
        assert not any("review sample" in sentence for sentence in sentences(dataset))
        decisions.decide(pair=pair, verdict=Verdict.KEEP, by=casey, based_on=None)
    assert any("Only 1 pair of the review sample is left" in each for each in sentences(dataset))


def test_decisions_that_no_snapshot_holds_are_named(scene: Scene) -> None:
    assert not any("snapshot" in sentence for sentence in sentences(scene.dataset))
    made = decisions.decide(pair=scene.pair, verdict=Verdict.KEEP, by=scene.curator, based_on=None)
    assert "since snapshot 1." in sentences(scene.dataset)[-1]
    decisions.undo(decision=made, by=scene.curator)
    assert not any("snapshot" in sentence for sentence in sentences(scene.dataset))


def test_a_snapshot_of_decisions_is_to_be_proven_by_an_experiment(scene: Scene) -> None:
    decisions.decide(pair=scene.pair, verdict=Verdict.KEEP, by=scene.curator, based_on=None)
    assert not any("better models" in sentence for sentence in sentences(scene.dataset))
    snapshot = freezing.freeze(dataset=scene.dataset, by=scene.curator)
    assert f"training on snapshot {snapshot.number} makes better" in sentences(scene.dataset)[-1]
    experiment = Experiment.objects.create(
        dataset=scene.dataset, name="proof", members_count=2, seeds=[0], folds=2
    )
    Arm.objects.create(
        experiment=experiment,
        position=0,
        name="it",
        labels="snapshot",
        snapshot=snapshot,
        recipe={},
    )
    assert not any("better models" in sentence for sentence in sentences(scene.dataset))


# --- Large datasets -------------------------------------------------------------------------------


def test_a_large_dataset_shows_its_last_figures_and_how_old_they_are(
    scene: Scene, desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "AT_ONCE", 0)
    assert "counted in the background" in text_of(page_of(scene.dataset, desk))
    row = DatasetFigures.objects.get()
    tasks.count_figures(figures_id=row.pk)
    page = text_of(page_of(scene.dataset, desk))
    assert "Likely flipped" in page
    assert "being counted anew" not in page
    DatasetFigures.objects.update(counted_at=timezone.now() - timedelta(minutes=2))
    decisions.decide(pair=scene.pair, verdict=Verdict.KEEP, by=scene.curator, based_on=None)
    page = text_of(page_of(scene.dataset, desk))
    assert re.search(r"Figures as of 2\s?min ago ?; they are being counted anew\.", page)
    asked = {"HX-Request": "true"}
    assert "being counted anew" in text_of(page_of(scene.dataset, desk, **asked))
    tasks.count_figures(figures_id=row.pk)
    assert "were counted anew. Show them" in text_of(page_of(scene.dataset, desk, **asked))


def test_figures_that_nobody_can_count_are_no_endless_wait(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "AT_ONCE", 0)
    assert "no worker is alive that would do it" in sentences(scene.dataset)[0]


def queries_of(desk: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as asked:
        assert desk.get(address).status_code == 200
    return len(asked)


@pytest.mark.parametrize("at_once", [0, 20_000])
def test_queries_do_not_grow_with_the_pairs(
    dataset: Dataset, as_casey: Client, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(counting, "AT_ONCE", at_once)
    address = reverse("scoring:overview", args=["pairs"])
    counts = []
    for number in (10, 60):
        rows = [factories.row(1000 * number + row, source=f"s{row % 3}") for row in range(number)]
        factories.imported(dataset, rows)
        scored(dataset, ["flipped"] * dataset.pairs.count())
        for index in DatasetFigures.objects.all():
            tasks.count_figures(figures_id=index.pk)
        queries_of(as_casey, address)
        for index in DatasetFigures.objects.all():
            tasks.count_figures(figures_id=index.pk)
        counts.append(queries_of(as_casey, address))
    assert counts[0] == counts[1]
