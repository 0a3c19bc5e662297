"""One verdict on all pairs of a filter, in the browser: seen first, made once, taken back."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotations import decisions, launch, tasks
from annotations.models import Dataset, DecisionBatch, Verdict
from annotations.proposals import Bulk
from curator.lib import work
from curator.models import User
from tests import factories
from tests.annotations import standings

PATH = "/datasets/desk/pairs/decide/"


@pytest.fixture
def curator(db: object) -> User:
    return factories.user("casey")


@pytest.fixture
def dataset(curator: User) -> Dataset:
    """Undecided pairs, flagged in every way."""
    made = factories.dataset("desk", curators=[curator], annotators=[factories.user("andy")])
    standings.scattered(made)
    made.standings.update(verdict="", decided_by="", decided_at=None)
    return made


@pytest.fixture
def at(client: Client, curator: User, dataset: Dataset) -> Client:
    client.force_login(curator)
    return client


def page_of(response: Any) -> str:
    return str(response.content.decode())


def seen(at: Client, **asked: str) -> dict[str, str]:
    """What the page sends back that shows what this would do."""
    response = at.post(PATH, asked | {"do": "preview"})
    assert response.context is not None
    return asked | {"do": "confirm", "shown": response.context["shown"]}


def work_off(batch: DecisionBatch) -> DecisionBatch:
    tasks.decide_batch(batch_id=batch.pk)
    batch.refresh_from_db()
    return batch


def test_only_curators_decide_in_bulk(at: Client, dataset: Dataset) -> None:
    confirmed = seen(at, flag="flipped", verdict="drop")
    for name, status in (("andy", 403), ("stranger", 404)):
        person = User.objects.filter(username=name).first() or factories.user(name)
        at.force_login(person)
        assert at.get(f"{PATH}?flag=flipped").status_code == status
        assert at.post(PATH, confirmed).status_code == status
    assert not dataset.batches.exists()


def test_the_page_tells_the_filter_in_words_and_how_its_pairs_stand(
    at: Client, dataset: Dataset
) -> None:
    response = at.get(f"{PATH}?flag=flipped&strength_to=0")
    assert response.context is not None
    pairs = dataset.standings.filter(flag="flipped", strength__lte=0).count()
    page = page_of(response)
    assert pairs > 0
    assert f"Decide on {pairs} pair" in page
    assert "Flag likely flipped and strength at most 0." in page
    assert f"{pairs} undecided" in page
    assert f"{pairs} likely flipped" in page
    assert 'name="shown"' not in page


def test_the_preview_shows_counts_and_pairs_at_random(at: Client, dataset: Dataset) -> None:
    asked = {"flag": "flipped", "verdict": "flip", "do": "preview"}
    response = at.post(PATH, asked, headers={"HX-Request": "true"})
    assert response.context is not None
    flagged = dataset.standings.filter(flag="flipped")
    able = flagged.filter(source_preference__in=["a", "b"]).count()
    assert response.context["preview"].effect.counts == {"flip": able}
    assert len(response.context["sample"]) == min(able, 10)
    page = page_of(response)
    assert "<html" not in page
    assert f"{flagged.count() - able} without a label that this could be done to" in page
    assert not dataset.batches.exists()


def test_each_pair_at_random_shows_how_both_responses_begin(at: Client, dataset: Dataset) -> None:
    dataset.pairs.update(
        source_preference="b",
        response_a=[{"role": "assistant", "content": f"<i>tea</i>\n{'and so on ' * 99}"}],
        response_b=[{"role": "assistant", "content": "no tea"}],
    )
    dataset.standings.update(source_preference="b")
    response = at.post(PATH, {"flag": "flipped", "verdict": "flip", "do": "preview"})
    assert response.context is not None
    pairs = len(response.context["sample"])
    shown = " ".join(page_of(response).split())
    assert pairs > 0
    assert shown.count("&lt;i&gt;tea&lt;/i&gt; and so on") == pairs
    marked = '<strong>B</strong> <span class="tag source">labelled better</span> '
    assert shown.count(f'{marked}<span dir="auto">no tea</span>') == pairs
    assert shown.count("labelled better") == pairs
    assert "and so on " * 40 not in shown


def test_queries_do_not_grow_with_the_pairs_that_are_shown(at: Client, dataset: Dataset) -> None:
    def asked(flag: str) -> tuple[int, int]:
        with CaptureQueriesContext(connection) as queries:
            response = at.post(PATH, {"flag": flag, "verdict": "drop", "do": "preview"})
        assert response.context is not None
        return len(response.context["sample"]), len(queries)

    ids = list(dataset.standings.filter(flag="flipped").values_list("pk", flat=True))
    dataset.standings.filter(pk__in=ids[2:]).update(flag="clear")
    (few, queries_of_few), (many, queries_of_many) = asked("flipped"), asked("clear")
    assert few == 2 < many
    assert queries_of_few == queries_of_many


def test_alpha_is_asked_for_by_softening_alone(at: Client, dataset: Dataset) -> None:
    page = page_of(at.get(f"{PATH}?flag=flipped"))
    assert "α, for “soften the labels”" in page
    response = at.post(PATH, {"flag": "flipped", "verdict": "drop", "alpha": "9"})
    assert response.context is not None
    assert response.context["preview"].effect.counts["drop"] > 0
    assert "α is below 0.5" not in page_of(response)


def test_all_pairs_of_the_filter_are_decided_and_taken_back(
    at: Client, dataset: Dataset, curator: User
) -> None:
    confirmed = seen(at, flag="flipped", verdict="soften", alpha="0.2")
    response = at.post(PATH, confirmed | {"reason": "<b>noisy</b>"})
    batch = work_off(dataset.batches.get())
    assert response.headers["Location"] == f"/datasets/desk/batches/{batch.pk}/"
    page = page_of(at.get(response.headers["Location"]))
    assert "soften to 0.8: flag likely flipped" in page
    assert "&lt;b&gt;noisy&lt;/b&gt;" in page
    assert page.count("labelled better") == batch.counts["soften"]
    softened = dataset.standings.filter(verdict="soften")
    assert softened.count() == batch.counts["soften"] > 0
    work_off(launch.start_undo(batch=batch, by=curator))
    assert softened.count() == 0


def test_an_undo_that_cannot_be_tried_again_yet_is_not_taken_for_done(
    at: Client, dataset: Dataset, curator: User
) -> None:
    batch = work_off(launch.start_bulk(dataset=dataset, bulk=Bulk((), "drop"), by=curator))
    undo = f"/datasets/desk/batches/{batch.pk}/undo/"
    work.cancel(launch.start_undo(batch=batch, by=curator))
    other = launch.start_bulk(dataset=dataset, bulk=Bulk((), "tie"), by=curator)
    response = at.post(undo, {"reason": ""})
    assert response.status_code == 409
    assert f"having batch {other.pk} done" in page_of(response)
    work.cancel(other)
    first, second = at.post(undo, {"reason": ""}), at.post(undo, {"reason": ""})
    assert first.headers["Location"] == second.headers["Location"]


def test_a_double_click_makes_one_batch(at: Client, dataset: Dataset) -> None:
    confirmed = seen(at, flag="flipped", verdict="drop")
    one, two = at.post(PATH, confirmed), at.post(PATH, confirmed)
    work_off(dataset.batches.get())
    three = at.post(PATH, confirmed)
    assert one.headers["Location"] == two.headers["Location"] == three.headers["Location"]
    assert dataset.batches.count() == 1


def test_a_filter_that_matches_others_meanwhile_is_refused(at: Client, dataset: Dataset) -> None:
    response = at.post(PATH, seen(at, flag="flipped", verdict="drop"))
    dataset.standings.filter(flag="clear").update(flag="flipped")
    batch = work_off(dataset.batches.get())
    assert batch.status == DecisionBatch.Status.FAILED
    page = page_of(at.get(response.headers["Location"]))
    assert "look again" in page
    assert f"{PATH}?flag=flipped" in page
    assert not dataset.standings.exclude(verdict="").exists()


def test_what_people_decided_is_passed_over_unless_the_curator_says_so(
    at: Client, dataset: Dataset, curator: User
) -> None:
    pair = dataset.standings.filter(flag="flipped").select_related("pair")[0].pair
    decisions.decide(pair=pair, verdict=Verdict.TIE, by=curator, based_on=None)
    flagged = dataset.standings.filter(flag="flipped").count()
    asked = {"flag": "flipped", "verdict": "drop"}
    spared = at.post(PATH, asked).context
    assert spared is not None
    assert spared["preview"].effect.counts == {"drop": flagged - 1}
    assert "decided by people" in page_of(at.post(PATH, asked))
    overruled = at.post(PATH, asked | {"overrules_people": "on"}).context
    assert overruled is not None
    assert overruled["preview"].effect.counts == {"drop": flagged}
    at.post(PATH, seen(at, **asked, overrules_people="on"))
    assert work_off(dataset.batches.get()).counts == {"drop": flagged}


def test_one_batch_at_a_time(at: Client, dataset: Dataset) -> None:
    confirmed = seen(at, flag="flipped", verdict="drop")
    launch.start_bulk(dataset=dataset, bulk=Bulk((), "tie"), by=None)
    response = at.post(PATH, confirmed)
    assert response.status_code == 409
    assert "wait until it is over" in page_of(response)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"strength_from": "much", "verdict": "drop"}, "compared with a number"),
        ({"flag": "flippy", "verdict": "drop"}, "did you mean"),
        ({"verdict": "explode"}, "Select a valid choice"),
        ({"verdict": "soften", "alpha": "0.7"}, "α is below 0.5"),
        ({"verdict": "soften", "alpha": ""}, "Say how far to soften"),
        ({}, "This field is required"),
    ],
)
def test_what_cannot_be_is_said_and_starts_nothing(
    at: Client, dataset: Dataset, asked: dict[str, str], said: str
) -> None:
    response = at.post(PATH, asked | {"do": "confirm", "shown": "{}"})
    assert response.status_code == 422
    assert said in page_of(response)
    assert not dataset.batches.exists()


def test_a_filter_that_nothing_passes_offers_nothing(at: Client, dataset: Dataset) -> None:
    page = page_of(at.get(f"{PATH}?turns_from=99"))
    assert "there is nothing to decide" in page
    assert 'value="confirm"' not in page
    contradictory = page_of(at.get(f"{PATH}?strength_from=2&strength_to=1"))
    assert "No pair can meet" in contradictory


def test_a_made_up_confirmation_starts_nothing(at: Client, dataset: Dataset) -> None:
    asked = {"flag": "flipped", "verdict": "drop", "do": "confirm", "shown": "[]"}
    answer = at.post(PATH, asked)
    assert answer.status_code == 422
    assert "look at the preview again" in answer.content.decode()
    assert not dataset.batches.exists()
