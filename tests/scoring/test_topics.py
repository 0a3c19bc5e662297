"""What prompts are about: topics are found once an ensemble is trained, and every pair is placed,
also those that come later."""

from typing import Any

import pytest
from django.conf import settings

from annotations.models import Dataset
from curator.lib import work
from curator.lib.work import Work
from scoring import device_tasks, embedding, launch, placing, shards, tasks, topics
from scoring.engine.cache import EmbeddingCache
from scoring.models import Ensemble, PairPlace, TopicMap, TrainingRun
from tests import factories

SUBJECTS = {
    "cooking": "How long do I boil {} eggs in a pot of water for a salad?",
    "python": "Write a python function that sorts a list of {} numbers.",
    "travel": "Which train goes from Paris to Rome with {} stops on the way?",
}


def rows(count: int, *, first: int = 0) -> list[factories.Row]:
    subjects = list(SUBJECTS.values())
    return [
        factories.row(
            number,
            prompt=subjects[number % 3].format(number),
            label="b" if number % 5 == 0 else "a",
        )
        for number in range(first, first + count)
    ]


@pytest.fixture
def rung(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that were rung for on the device."""
    heard: list[str] = []
    monkeypatch.setattr(launch, "ring_on_commit", lambda task, **ids: heard.append(task))
    return heard


@pytest.fixture
def subjects(dataset: Dataset) -> Dataset:
    factories.imported(dataset, rows(120))
    return dataset


@pytest.fixture
def trained(subjects: Dataset, tiny_backbone: str) -> Ensemble:
    return factories.trained(subjects, tiny_backbone)


def place(dataset: Dataset) -> TopicMap:
    """What the worker does when it is rung for."""
    row = TopicMap.objects.get(dataset=dataset)
    device_tasks.place_prompts(map_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.DONE, row.problem
    return row


def topic_of(dataset: Dataset) -> dict[int, int | None]:
    return dict(dataset.standings.values_list("pair_id", "topic"))


def places_of(dataset: Dataset) -> list[tuple[int, int, bytes]]:
    found = PairPlace.objects.filter(dataset=dataset).order_by("pair")
    return [
        (pk, cluster, bytes(code))
        for pk, cluster, code in found.values_list("pair_id", "cluster", "code")
    ]


def test_topics_are_asked_for_when_an_ensemble_is_trained(
    rung: list[str], trained: Ensemble
) -> None:
    assert shards.PLACE_PROMPTS in rung
    row = TopicMap.objects.get(dataset=trained.dataset)
    assert (row.status, row.ensemble) == (Work.Status.QUEUED, trained)
    assert topics.state_of(trained.dataset) == "Topics of prompts are being found."


def test_every_pair_gets_a_place_and_a_topic_with_a_name(trained: Ensemble) -> None:
    dataset = trained.dataset
    made = place(dataset)
    assert PairPlace.objects.filter(dataset=dataset).count() == 120
    found = topic_of(dataset)
    assert None not in found.values()
    names = topics.names_of(dataset)
    assert set(found.values()) == set(names)
    assert {topic["number"]: topic["pairs"] for topic in made.topics} == {
        number: list(found.values()).count(number) for number in names
    }
    assert len(set(names.values())) == len(names)
    assert topics.state_of(dataset) == ""


def test_prompts_of_one_subject_share_a_topic_named_after_it(trained: Ensemble) -> None:
    dataset = trained.dataset
    place(dataset)
    found, names = topic_of(dataset), topics.names_of(dataset)
    for subject, words in SUBJECTS.items():
        of_subject = dataset.pairs.filter(prompt__icontains=words.split()[2])
        numbers = {found[pk] for pk in of_subject.values_list("pk", flat=True)}
        said = " ".join(names[number] for number in numbers if number is not None)
        assert any(word.strip("?{}.").lower() in said for word in words.split()), (subject, said)


def test_placing_again_changes_nothing(trained: Ensemble) -> None:
    dataset = trained.dataset
    place(dataset)
    before = places_of(dataset), topic_of(dataset), topics.names_of(dataset)
    assert launch.find_topics(dataset) is not None
    place(dataset)
    assert (places_of(dataset), topic_of(dataset), topics.names_of(dataset)) == before


def test_the_same_dataset_is_always_given_the_same_places(trained: Ensemble) -> None:
    dataset = trained.dataset
    place(dataset)
    before = [place[1:] for place in places_of(dataset)]
    TopicMap.objects.all().delete()
    PairPlace.objects.all().delete()
    launch.find_topics(dataset, by=trained)
    place(dataset)
    assert [place[1:] for place in places_of(dataset)] == before


def test_a_lost_attempt_is_gone_on_with_where_it_stood(
    trained: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = trained.dataset
    row = TopicMap.objects.get(dataset=dataset)
    monkeypatch.setattr(placing, "CHUNK", 50)
    placed: list[int] = []
    place_some = placing._place_some

    def dies_later(row: TopicMap, found: Any, ids: list[int], vectors: Any) -> None:
        if placed:
            raise RuntimeError("the device went away")
        placed.extend(ids)
        place_some(row, found, ids, vectors)

    with monkeypatch.context() as patched:
        patched.setattr(placing, "_place_some", dies_later)
        device_tasks.place_prompts(map_id=row.pk)
    row.refresh_from_db()
    assert (row.status, PairPlace.objects.count()) == (Work.Status.QUEUED, 50)
    first = places_of(dataset)
    made = place(dataset)
    assert places_of(dataset)[:50] == first
    assert PairPlace.objects.count() == sum(topic["pairs"] for topic in made.topics) == 120


def test_who_has_lost_the_lease_places_nothing(trained: Ensemble) -> None:
    row = TopicMap.objects.get(dataset=trained.dataset)
    held = work.claim(TopicMap, row.pk)
    assert held is not None
    TopicMap.objects.filter(pk=row.pk).update(fence=held.fence + 1)  # another has taken over
    with pytest.raises(work.LeaseLost):
        placing.place(held)
    assert PairPlace.objects.count() == 0
    assert set(topic_of(trained.dataset).values()) == {None}


def test_pairs_that_come_later_are_placed_once_they_are_scored(
    rung: list[str], trained: Ensemble
) -> None:
    dataset = trained.dataset
    place(dataset)
    before, names = topic_of(dataset), topics.names_of(dataset)
    rung.clear()
    factories.scored(trained)
    assert shards.PLACE_PROMPTS not in rung  # nothing new
    factories.imported(dataset, rows(30, first=120))
    factories.scored(trained)
    assert shards.PLACE_PROMPTS in rung
    place(dataset)
    after = topic_of(dataset)
    assert {pk: after[pk] for pk in before} == before
    assert len(after) == 150
    assert None not in after.values()
    assert topics.names_of(dataset) == names


def test_a_dataset_that_has_outgrown_its_topics_gets_new_ones_under_new_numbers(
    trained: Ensemble,
) -> None:
    dataset = trained.dataset
    place(dataset)
    before = set(topics.names_of(dataset))
    factories.imported(dataset, rows(130, first=120))
    launch.find_topics(dataset)
    place(dataset)
    names = topics.names_of(dataset)
    assert not before & set(names)
    assert set(topic_of(dataset).values()) == set(names)
    assert PairPlace.objects.count() == 250


def test_topics_stay_when_the_same_backbone_is_trained_on_again(
    trained: Ensemble, tiny_backbone: str
) -> None:
    dataset = trained.dataset
    place(dataset)
    before = topic_of(dataset)
    factories.trained(dataset, tiny_backbone, name="again")
    made = place(dataset)
    assert made.ensemble.name == "again"
    assert topic_of(dataset) == before


def test_a_host_that_lacks_the_embeddings_makes_those_of_the_prompts(trained: Ensemble) -> None:
    dataset = trained.dataset
    backbone = embedding.backbone_of(trained)
    shape = (len(backbone.layers), backbone.dimension)
    folder = settings.CURATOR_HOME / "embeddings"
    EmbeddingCache(folder, backbone.digest, shape).file.path.unlink()
    place(dataset)
    assert len(places_of(dataset)) == 120
    pair = dataset.pairs.get(source_id="pair-0")
    texts = embedding.texts_of(pair).keyed
    lacking = EmbeddingCache(folder, backbone.digest, shape).missing([key for key, *_ in texts])
    assert lacking == [key for key, *_ in texts[1:]]


def test_registered_models_alone_give_no_topics_and_pages_can_say_so(dataset: Dataset) -> None:
    factories.pairs(dataset)
    only = launch.assemble(
        dataset=dataset,
        name="both",
        by=None,
        checkpoints=[factories.checkpoint(name) for name in "ab"],
    )
    with pytest.raises(topics.NoBackbone, match="train one to find topics"):
        launch.find_topics(dataset, by=only)
    run = factories.judged(dataset, {}, name="both")
    launch.find_topics_after(run)
    assert not TopicMap.objects.exists()
    assert topics.names_of(dataset) == {}
    assert "registered models alone give none" in topics.state_of(dataset)


def test_a_backbone_that_is_gone_is_told_of_and_trained_heads_stay(trained: Ensemble) -> None:
    Ensemble.objects.filter(pk=trained.pk).update(backbone="/nowhere")
    row = TopicMap.objects.get(dataset=trained.dataset)
    device_tasks.place_prompts(map_id=row.pk)
    row.refresh_from_db()
    assert row.status == Work.Status.FAILED
    assert "could not be found" in topics.state_of(trained.dataset)
    assert TrainingRun.objects.get(ensemble=trained).status == Work.Status.DONE


def test_a_lost_message_is_rung_for_again(
    trained: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, dict[str, int]]] = []

    def ring(task: str, **ids: int) -> bool:
        heard.append((task, ids))
        return True

    monkeypatch.setattr(shards, "ring", ring)
    monkeypatch.setattr(shards, "is_quiet", lambda queue: True)
    row = TopicMap.objects.get(dataset=trained.dataset)
    TopicMap.objects.filter(pk=row.pk).update(queued_at=row.queued_at - 6 * shards.UNHEARD)
    tasks.sweep()
    assert (shards.PLACE_PROMPTS, {"map_id": row.pk}) in heard


def test_a_dataset_without_pairs_has_no_topics(trained: Ensemble) -> None:
    other = factories.dataset("empty")
    row = TopicMap.objects.create(dataset=other, ensemble=trained)
    device_tasks.place_prompts(map_id=row.pk)
    row.refresh_from_db()
    assert (row.status, row.topics) == (Work.Status.DONE, [])
