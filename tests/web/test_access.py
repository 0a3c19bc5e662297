"""Who may open and change what: every address of the project, for every kind of person."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from annotations import golds, launch, policy_book, tagging, tasks
from annotations.conditions import Condition, Operator
from annotations.models import SavedView
from annotations.policies import DEFAULT, PRESETS
from annotations.proposals import Bulk
from curator.models import User
from scoring import recipe_book
from scoring.core import recipes
from tests import factories
from tests.scenarios import Scene

OPEN = {"sign-in", "sign-in-link", "health", "favicon"}  # to anybody
SIGNED_IN = {
    "scoring:datasets",
    "annotations:dataset-new",
    "annotations:keys",
    "machinery",
    "sign-out",
}
NOT_ANNOTATORS = {"scoring:models", "scoring:model", "scoring:model-again"}  # to all but those
MEMBERS = {
    "scoring:overview",
    "annotations:label",
    "annotations:label-undo",
    "annotations:own-figures",
}
HOLDERS = {  # whose lease it is, and nobody else
    "annotations:vote",
    "annotations:draft",
    "annotations:label-differences",
    "annotations:label-comment",
}
OWN_FIGURES = {"annotations:annotator"}  # curators see those of all, annotators their own
OWNERS = {
    "annotations:people-role",
    "annotations:people-deactivate",
    "annotations:people-reactivate",
    "annotations:people-link",
}
CURATORS = {
    "annotations:comments",
    "annotations:dispute",
    "annotations:dispute-resolve",
    "annotations:dispute-skip",
    "annotations:dispute-undo",
    "annotations:disputes",
    "annotations:disputes-end",
    "annotations:gold",
    "annotations:all-comments",
    "annotations:gold-pairs",
    "annotations:gold-retire",
    "annotations:gold-use-again",
    "annotations:labelling",
    "annotations:labelling-rules",
    "annotations:labels-download",
    "annotations:people",
    "annotations:round-close",
    "annotations:round-reopen",
    "annotations:rules-preview",
    "annotations:second-opinion",
    "annotations:team",
    "annotations:import-new",
    "annotations:import",
    "annotations:import-cancel",
    "annotations:import-report",
    "annotations:card",
    "annotations:snapshot",
    "annotations:snapshot-changes",
    "annotations:snapshot-changes-now",
    "annotations:snapshot-compare",
    "annotations:snapshot-restore",
    "annotations:snapshot-tag",
    "annotations:snapshot-tagged",
    "annotations:snapshot-untag",
    "annotations:export",
    "annotations:download",
    "scoring:agreement",
    "scoring:consensus",
    "scoring:batch",
    "scoring:batch-undo",
    "scoring:bulk",
    "scoring:policies",
    "scoring:policy",
    "scoring:policy-apply",
    "scoring:policy-examples",
    "scoring:policy-new",
    "scoring:policy-preview",
    "scoring:pairs",
    "scoring:facets",
    "scoring:panel",
    "scoring:pair-ids",
    "annotations:view-save",
    "annotations:view-rename",
    "annotations:view-retire",
    "scoring:pair",
    "scoring:pair-evidence",
    "scoring:pair-ahead",
    "scoring:review-switch",
    "scoring:similar",
    "scoring:round-again",
    "scoring:round-new",
    "scoring:decide",
    "scoring:skip",
    "scoring:review",
    "scoring:review-end",
    "scoring:review-waiting",
    "scoring:undo",
    "scoring:calibrate",
    "scoring:plant",
    "scoring:recalibrate",
    "scoring:sample",
    "scoring:sample-more",
    "scoring:evidence",
    "scoring:ensembles",
    "scoring:assemble",
    "scoring:ensemble",
    "scoring:score",
    "scoring:training-cancel",
    "scoring:training-retry",
    "scoring:run",
    "scoring:run-pause",
    "scoring:run-resume",
    "scoring:run-cancel",
    "scoring:run-retry",
    "scoring:audit",
    "scoring:run-compare-with",
    "scoring:run-compare",
    "scoring:recipes",
    "scoring:recipe",
    "scoring:recipe-new",
    "scoring:recipe-check",
    "scoring:recipe-told",
    "scoring:responses",
    "scoring:iterations",
    "scoring:iteration-again",
    "scoring:iteration-cancel",
    "scoring:experiments",
    "scoring:experiment",
    "scoring:experiment-new",
    "scoring:experiment-report",
    "scoring:experiment-cancel",
    "scoring:experiment-retry",
    "scoring:activity",
    "scoring:activity-hour",
    "scoring:snapshot-card",
    "scoring:snapshots",
}
CHANGING = {  # addresses that only take POST
    "annotations:view-save",
    "annotations:view-rename",
    "annotations:view-retire",
    "annotations:comments",
    "annotations:dispute-resolve",
    "annotations:dispute-skip",
    "annotations:dispute-undo",
    "annotations:draft",
    "annotations:gold",
    "annotations:gold-retire",
    "annotations:gold-use-again",
    "annotations:label-comment",
    "annotations:label-undo",
    "annotations:people-deactivate",
    "annotations:people-link",
    "annotations:people-reactivate",
    "annotations:people-role",
    "annotations:round-close",
    "annotations:round-reopen",
    "annotations:rules-preview",
    "annotations:second-opinion",
    "annotations:vote",
    "scoring:round-again",
    "annotations:import-cancel",
    "annotations:export",
    "annotations:snapshot-tag",
    "annotations:snapshot-untag",
    "scoring:snapshot-card",
    "scoring:calibrate",
    "scoring:plant",
    "scoring:recalibrate",
    "scoring:sample",
    "scoring:sample-more",
    "scoring:decide",
    "scoring:policy-examples",
    "scoring:policy-preview",
    "scoring:review-switch",
    "scoring:skip",
    "scoring:undo",
    "scoring:model-again",
    "scoring:assemble",
    "scoring:score",
    "scoring:training-cancel",
    "scoring:training-retry",
    "scoring:run-pause",
    "scoring:run-resume",
    "scoring:run-cancel",
    "scoring:run-retry",
    "scoring:audit",
    "scoring:recipe-check",
    "scoring:iteration-again",
    "scoring:iteration-cancel",
    "scoring:experiment-cancel",
    "scoring:experiment-retry",
}


def names(patterns: Any, prefix: str = "") -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{prefix}{pattern.namespace}:" if pattern.namespace else prefix
            yield from names(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern):
            yield f"{prefix}{pattern.name}"


def address(name: str, scene: Scene) -> str:
    values = {
        "slug": scene.dataset.slug,
        "import_id": scene.imported.pk,
        "number": scene.snapshot.number,
        "export_id": scene.export.pk,
        "pair_id": scene.pair.pk,
        "name": scene.ensemble.name,
        "model": scene.checkpoint.name,
        "run_id": scene.run.pk,
        "other_id": scene.run.pk,
        "layout": "jsonl",
        "since": scene.snapshot.number,
        "tag": "v1",
        "tag_id": tagging.tag(snapshot=scene.snapshot, name="v1", by=None).pk,
        "person_id": scene.curator.pk,
        "hour": "2026-11-21T09",
        **labelling_of(scene),
        **deciding_of(scene),
        **training_of(scene),
    }
    namespace, _, short = name.rpartition(":")
    resolver: Any = get_resolver()
    if namespace:
        resolver = resolver.namespace_dict[namespace][1]
    [(_, arguments)] = resolver.reverse_dict.getlist(short)[0][0]
    return reverse(name, kwargs={argument: values[argument] for argument in arguments})


def labelling_of(scene: Scene) -> dict[str, int]:
    """A round, a gold pair, and the annotator with a pair in their hands."""
    annotator = factories.annotator(scene.dataset, scene.annotator.username)
    if not scene.dataset.rounds.exists():
        factories.opened_round(scene.dataset)
    lease = annotator.leases.first() or factories.leased(annotator)
    known = golds.known_of(scene.pair) or golds.mark(pair=scene.pair, preference="a", by=None)
    return {
        "annotator_id": annotator.pk,
        "gold_id": known.pk,
        "lease_id": lease.pk,
        "membership_id": scene.dataset.memberships.get(user=scene.annotator).pk,
        "round_id": scene.dataset.rounds.order_by("pk")[0].pk,
    }


def deciding_of(scene: Scene) -> dict[str, int]:
    """A policy that was kept, and a batch that had nothing to do."""
    batch = scene.dataset.batches.first()
    if batch is None:
        nothing = Condition("turns", Operator.ABOVE, (99,))
        batch = launch.start_bulk(dataset=scene.dataset, bulk=Bulk((nothing,), "tie"), by=None)
        tasks.decide_batch(batch_id=batch.pk)
    policy = policy_book.keep(dataset=scene.dataset, policy=PRESETS[DEFAULT], by=None)
    view, _ = SavedView.objects.get_or_create(dataset=scene.dataset, name="kept")
    return {"batch_id": batch.pk, "policy_id": policy.pk, "view_id": view.pk}


def training_of(scene: Scene) -> dict[str, int]:
    """A recipe that was kept, an experiment and an iteration that wait."""
    recipe = recipe_book.from_text("{name: kept, loss: {name: robust}}")
    experiment, _ = scene.dataset.experiments.get_or_create(
        name="waits", defaults={"members_count": 2, "seeds": [0], "folds": 2}
    )
    iteration, _ = scene.dataset.iterations.get_or_create(
        name="waits",
        defaults={
            "rounds_wanted": 1,
            "threshold": 0.8,
            "members_count": 2,
            "recipe": recipes.as_json(recipe),
        },
    )
    return {
        "recipe_id": recipe_book.keep(dataset=scene.dataset, recipe=recipe, by=None).pk,
        "experiment_id": experiment.pk,
        "iteration_id": iteration.pk,
    }


def ask(person: User, name: str, scene: Scene) -> int:
    client = Client()
    client.force_login(person)
    url = address(name, scene)
    response: Any = client.post(url) if name in CHANGING else client.get(url)
    close_file(response)
    return int(response.status_code)


def close_file(response: Any) -> None:
    """A server closes what it has sent; the test client leaves that to us."""
    for close in response._resource_closers:
        close()


def test_every_address_is_in_one_of_the_groups() -> None:
    """A new page is not reachable by accident: it must be named here."""
    groups = [OPEN, SIGNED_IN, NOT_ANNOTATORS, MEMBERS, HOLDERS, OWN_FIGURES, CURATORS, OWNERS]
    found = {name for name in names(get_resolver().url_patterns) if not name.startswith("api:")}
    assert found == set().union(*groups)  # of the API, test_api says who may open what
    assert sum(map(len, groups)) == len(set().union(*groups))


@pytest.mark.django_db
def test_who_is_not_signed_in_is_sent_to_the_sign_in_page(client: Client, scene: Scene) -> None:
    members = MEMBERS | HOLDERS | OWN_FIGURES | CURATORS | OWNERS
    for name in SIGNED_IN | NOT_ANNOTATORS | members:
        for response in (client.get(address(name, scene)), client.post(address(name, scene))):
            assert response.status_code == 302, name
            assert response["Location"].startswith("/sign-in/"), name


def test_a_stranger_does_not_learn_that_the_dataset_exists(scene: Scene) -> None:
    for name in MEMBERS | HOLDERS | OWN_FIGURES | CURATORS | OWNERS:
        assert ask(scene.stranger, name, scene) == 404, name


def test_an_annotator_sees_the_guidelines_and_nothing_of_scores_or_labels(scene: Scene) -> None:
    for name in CURATORS | OWNERS:
        assert ask(scene.annotator, name, scene) == 403, name
    for name in MEMBERS | OWN_FIGURES:
        assert ask(scene.annotator, name, scene) in (200, 302, 400), name


def test_a_pair_in_somebodys_hands_is_theirs_alone(scene: Scene) -> None:
    for name in sorted(HOLDERS):
        assert ask(scene.annotator, name, scene) in (200, 204, 422), name
        for person in (scene.owner, scene.curator):
            assert ask(person, name, scene) == 404, name


@pytest.mark.parametrize("kind", ["curator", "owner"])
def test_curators_and_owners_reach_everything(scene: Scene, kind: str) -> None:
    person: User = getattr(scene, kind)
    for name in sorted(MEMBERS | OWN_FIGURES | CURATORS):
        assert ask(person, name, scene) in (200, 302, 400, 409, 422), name


def test_only_owners_change_who_is_a_member(scene: Scene) -> None:
    for name in sorted(OWNERS):
        assert ask(scene.curator, name, scene) == 403, name
        assert ask(scene.owner, name, scene) in (200, 302, 400), name


def test_registered_models_are_for_all_but_those_who_only_annotate(scene: Scene) -> None:
    for name in sorted(NOT_ANNOTATORS):
        assert ask(scene.annotator, name, scene) == 403, name
        for person in (scene.stranger, scene.curator, scene.owner):
            assert ask(person, name, scene) in (200, 400), name


def test_who_only_annotates_makes_no_datasets(scene: Scene) -> None:
    assert ask(scene.annotator, "annotations:dataset-new", scene) == 403
    assert ask(scene.curator, "annotations:dataset-new", scene) == 200
    assert ask(scene.stranger, "annotations:dataset-new", scene) == 200


def test_what_changes_something_is_not_done_by_a_link(scene: Scene, client: Client) -> None:
    client.force_login(scene.curator)
    for name in CHANGING:
        assert client.get(address(name, scene)).status_code == 405, name


def test_an_object_is_not_reached_through_another_dataset(scene: Scene) -> None:
    other = factories.dataset("other", curators=[scene.stranger])
    client = Client()
    client.force_login(scene.stranger)
    for name in (CURATORS | OWN_FIGURES) - CHANGING:
        url = address(name, scene).replace("/scene/", f"/{other.slug}/")
        with_object = url.count("/") > 4 and any(part.isdigit() for part in url.split("/"))
        if with_object:
            assert client.get(url).status_code == 404, name


def test_a_form_without_its_token_is_refused(scene: Scene) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(scene.curator)
    response = client.post(reverse("scoring:decide", args=["scene", scene.pair.pk]))
    assert response.status_code == 403
    assert not scene.pair.decisions.exists()


def test_every_page_forbids_scripts_and_styles_from_elsewhere(scene: Scene, client: Client) -> None:
    client.force_login(scene.curator)
    for name in sorted((MEMBERS | NOT_ANNOTATORS | OWN_FIGURES | CURATORS) - CHANGING):
        response: Any = client.get(address(name, scene))
        close_file(response)
        policy = response.headers.get("Content-Security-Policy", "")
        assert "default-src 'none'" in policy, name
        assert "unsafe" not in policy, name
