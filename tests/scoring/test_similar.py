"""Similar pairs: of the same prompt first, then of the nearest other prompts, in bounded work."""

from typing import Any

import numpy as np
import pytest

from annotations import decisions
from annotations.models import Dataset, PairStanding, PreferencePair, Verdict
from curator.lib.work import Work
from curator.models import User
from scoring import device_tasks, similar
from scoring.core import places
from scoring.core.topics import nearest
from scoring.models import Ensemble, PairPlace, TopicMap
from scoring.similar import similar_pairs
from tests import factories

DIRECTIONS = 6
EACH = 10
WIDTH = 16


@pytest.fixture
def placed(dataset: Dataset) -> Dataset:
    """Sixty pairs whose prompts lie around six directions, ten each, placed by a map of made-up
    embeddings; pair n is of direction n % 6."""
    generator = np.random.default_rng(0)
    pairs = factories.pairs(dataset, DIRECTIONS * EACH)
    middles = np.eye(DIRECTIONS, WIDTH)
    vectors = np.stack([middles[i % DIRECTIONS] for i in range(len(pairs))])
    vectors += 0.1 * generator.standard_normal(vectors.shape)
    place_at(dataset, pairs, vectors, clusters=DIRECTIONS)
    return dataset


def place_at(dataset: Dataset, pairs: list[PreferencePair], vectors: Any, *, clusters: int) -> None:
    fitted = places.fit(vectors, np.random.default_rng(0), clusters=clusters)
    ensemble = Ensemble.objects.create(dataset=dataset, name="heads", members_count=2)
    TopicMap.objects.create(
        dataset=dataset, ensemble=ensemble, fitted=fitted.to_bytes(), status=Work.Status.DONE
    )
    numbers, codes = fitted.places(vectors)
    PairPlace.objects.bulk_create(
        PairPlace(pair=pair, dataset=dataset, cluster=int(number), code=code.tobytes())
        for pair, number, code in zip(pairs, numbers, codes, strict=True)
    )


def pair_called(dataset: Dataset, number: int) -> PreferencePair:
    return dataset.pairs.get(source_id=f"pair-{number}")


def number_of(pair: PreferencePair) -> int:
    return int(pair.source_id.removeprefix("pair-"))


def decide(dataset: Dataset, number: int, by: User) -> None:
    pair = pair_called(dataset, number)
    decisions.decide(pair=pair, verdict=Verdict.KEEP, by=by, based_on=None)


def test_the_nearest_prompts_are_found_the_most_alike_first(placed: Dataset) -> None:
    found = similar_pairs(pair_called(placed, 3), count=8)
    assert [number_of(one.pair) % DIRECTIONS for one in found] == [3] * 8
    cosines = [one.cosine for one in found]
    assert cosines == sorted(cosines, reverse=True)
    assert 0.5 < cosines[-1] <= cosines[0] <= 1
    assert not any(one.is_same_prompt for one in found)
    assert 3 not in {number_of(one.pair) for one in found}


def test_what_is_found_is_what_looking_through_all_codes_finds(placed: Dataset) -> None:
    rows = list(PairPlace.objects.filter(dataset=placed).order_by("pair"))
    codes = np.stack([np.frombuffer(row.code, dtype=np.int8) for row in rows])
    for position in (0, 7, 31):
        best, _ = nearest(codes, codes[position], 9)
        expected = [rows[i].pair_id for i in best if i != position][:8]
        pair = placed.pairs.get(pk=rows[position].pair_id)
        assert [one.pair.pk for one in similar_pairs(pair)] == expected


def test_other_pairs_of_the_same_prompt_come_first_and_are_marked(placed: Dataset) -> None:
    prompt = "Question 3?"
    factories.imported(placed, [factories.row(n, prompt=prompt) for n in (100, 101)])
    found = similar_pairs(pair_called(placed, 3), count=8)
    same = [(number_of(one.pair), one.cosine) for one in found if one.is_same_prompt]
    assert same == [(100, 1.0), (101, 1.0)]
    assert [one.is_same_prompt for one in found] == [True] * 2 + [False] * 6


def test_a_prompt_with_many_pairs_leaves_room_for_others(placed: Dataset) -> None:
    many = [factories.row(n, prompt="Question 3?") for n in range(100, 120)]
    factories.imported(placed, many)
    found = similar_pairs(pair_called(placed, 3), count=8)
    assert [one.is_same_prompt for one in found] == [True] * 4 + [False] * 4
    # a pair that came since has no place of its own, but its prompt has
    late = similar_pairs(pair_called(placed, 100), count=8)
    assert [number_of(one.pair) % DIRECTIONS for one in late if not one.is_same_prompt] == [3] * 4


def test_the_same_prompt_can_be_left_out(placed: Dataset) -> None:
    factories.imported(placed, [factories.row(n, prompt="Question 3?") for n in range(100, 110)])
    found = similar_pairs(pair_called(placed, 3), count=8, of_same_prompt=False)
    assert [one.is_same_prompt for one in found] == [False] * 8


def test_without_topics_there_are_only_pairs_of_the_same_prompt(dataset: Dataset) -> None:
    factories.pairs(dataset, 12, prompt="The same question?")
    found = similar_pairs(pair_called(dataset, 0), count=8)
    assert [number_of(one.pair) for one in found] == list(range(1, 9))
    other = factories.dataset("other")
    alone = factories.pairs(other, 2)
    assert similar_pairs(alone[0]) == []


def test_only_decided_pairs_where_so_wanted_however_far(placed: Dataset, casey: User) -> None:
    factories.imported(placed, [factories.row(n, prompt="Question 3?") for n in (100, 101)])
    for number in (9, 15, 4, 101):
        decide(placed, number, casey)
    found = similar_pairs(pair_called(placed, 3), count=8, decided_only=True)
    numbers = [number_of(one.pair) for one in found]
    assert numbers[0] == 101
    assert set(numbers[1:3]) == {9, 15}
    assert numbers[3] == 4
    assert all(one.pair.standing.verdict == Verdict.KEEP for one in found)


def test_one_other_prompt_with_many_pairs_does_not_fill_the_list(dataset: Dataset) -> None:
    prompts = [f"Question {n}?" for n in range(10)]
    prompts += ["The same question?"] * 10
    rows = [factories.row(n, prompt=prompt) for n, prompt in enumerate(prompts)]
    factories.imported(dataset, rows)
    vectors = np.random.default_rng(0).standard_normal((10, WIDTH))
    vectors = np.concatenate([vectors, np.repeat(vectors[:1] + 0.01, 10, axis=0)])
    place_at(dataset, list(dataset.pairs.order_by("pk")), vectors, clusters=1)
    found = similar_pairs(pair_called(dataset, 0), count=6)
    assert sorted(number_of(one.pair) >= 10 for one in found) == [False] * 5 + [True]
    nearly_all = similar_pairs(pair_called(dataset, 0), count=12)
    assert len(nearly_all) == 12  # other prompts are used up by then


def test_no_more_than_so_many_codes_are_read(
    placed: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "MOST_READ", 7)
    read: list[int] = []
    codes = similar._codes

    def noted(rows: Any) -> dict[int, bytes]:
        found = codes(rows)
        read.append(len(found))
        return found

    monkeypatch.setattr(similar, "_codes", noted)
    found = similar_pairs(pair_called(placed, 3), count=8)
    assert sum(read) == 7
    assert {number_of(one.pair) % DIRECTIONS for one in found} == {3}


def test_the_number_of_queries_does_not_grow(
    placed: Dataset, casey: User, django_assert_max_num_queries: Any
) -> None:
    pair = pair_called(placed, 3)
    for count in (2, 20):
        with django_assert_max_num_queries(8):
            similar_pairs(pair, count=count)
    decide(placed, 9, casey)
    with django_assert_max_num_queries(10):
        found = similar_pairs(pair, decided_only=True)
        assert [one.pair.standing.verdict for one in found] == [Verdict.KEEP]


def test_another_dataset_is_never_looked_into(placed: Dataset) -> None:
    other = factories.dataset("other")
    factories.pairs(other, 3)
    of_other = other.pairs.first()
    assert of_other is not None
    assert all(one.pair.dataset_id == placed.pk for one in similar_pairs(pair_called(placed, 3)))
    assert similar_pairs(of_other) == []


def test_the_worker_s_places_serve_the_page(dataset: Dataset, tiny_backbone: str) -> None:
    rows = [factories.row(n, label="b" if n % 5 == 0 else "a") for n in range(30)]
    factories.imported(dataset, rows)
    factories.trained(dataset, tiny_backbone)
    device_tasks.place_prompts(map_id=TopicMap.objects.get().pk)
    assert PairStanding.objects.filter(topic__isnull=True).count() == 0
    found = similar_pairs(pair_called(dataset, 3))
    assert len(found) == 8
    assert all(-1 <= one.cosine <= 1 for one in found)
