"""The pages of registered models, and the form that puts them together."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotations.models import Dataset, Membership, Role
from curator.models import User
from scoring import launch
from scoring.models import Checkpoint, Ensemble, TrainingRun
from tests import factories

MODELS = "/models/"
WANTED = {"name": "mine", "reference": "org/mine", "dtype": "float32"}


def page_of(checkpoint: Checkpoint) -> str:
    return reverse("scoring:model", args=[checkpoint.name])


def text(response: Any) -> str:
    """The page as it reads: one blank between words, and no thin ones."""
    return " ".join(response.content.decode().replace("\u202f", " ").split())


def count_of_queries(desk: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert desk.get(address).status_code == 200
    return len(queries)


@pytest.fixture
def annotator(dataset: Dataset) -> User:
    anna = factories.user("anna")
    Membership.objects.create(dataset=dataset, user=anna, role=Role.ANNOTATOR)
    return anna


# --- The list, and registering --------------------------------------------------------------------


def test_the_list_says_what_each_model_is(as_casey: Client) -> None:
    factories.checkpoint("tiny")
    page = text(as_casey.get(MODELS))
    assert page_of(Checkpoint.objects.get()) in page
    for words in ("LlamaForSequenceClassification", "124 M", "2,048 tokens", "agrees in all 3"):
        assert words in page


def test_the_list_names_models_that_are_not_loaded_yet_or_never_were(as_casey: Client) -> None:
    nothing: dict[str, Any] = {"identity": {}, "self_test": {}, "digest": ""}
    factories.checkpoint("waiting", status="queued", **nothing)
    factories.checkpoint("broken", status="failed", problem="It is a pickle.", **nothing)
    page = text(as_casey.get(MODELS))
    assert "waiting" in page
    assert "broken" in page
    assert "agrees" not in page


def test_without_models_the_list_names_the_next_step(as_casey: Client) -> None:
    page = text(as_casey.get(MODELS))
    assert "No model is registered yet" in page
    assert "No scoring worker is alive" in page


def test_many_models_take_as_many_queries_as_few(as_casey: Client) -> None:
    factories.checkpoint("one")
    few = count_of_queries(as_casey, MODELS)
    for number in range(9):
        factories.checkpoint(f"further-{number}")
    assert count_of_queries(as_casey, MODELS) == few


def test_a_model_is_registered_from_its_form(as_casey: Client, casey: User) -> None:
    response: Any = as_casey.post(MODELS, WANTED | {"revision": "v1", "score_at": "last"})
    row = Checkpoint.objects.get()
    assert response["Location"] == page_of(row)
    assert (row.name, row.reference, row.revision) == ("mine", "org/mine", "v1")
    assert (row.dtype, row.max_length, row.score_at) == ("float32", 0, "last")
    assert (row.status, row.created_by) == ("queued", casey)
    assert "No worker has picked this up" in text(as_casey.get(response["Location"]))


def test_a_folder_that_the_operator_set_aside_may_be_registered(
    as_casey: Client, settings: Any, tmp_path: Path
) -> None:
    settings.CHECKPOINTS_FOLDER = tmp_path
    (tmp_path / "mine").mkdir()
    response = as_casey.post(MODELS, WANTED | {"reference": str(tmp_path / "mine")})
    assert response.status_code == 302


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "required"),
        ({"name": "no spaces"}, "Use letters, digits"),
        ({"name": "tiny"}, "registered already"),
        ({"reference": " "}, "required"),
        ({"reference": "/etc"}, "a folder must lie in"),
        ({"reference": "../elsewhere"}, "a folder must lie in"),
        ({"reference": "\0"}, "Null characters"),
        ({"reference": "x" * 301}, "at most 300"),
        ({"dtype": "float8"}, "not one of the available choices"),
        ({"max_length": "-1"}, "greater than or equal to 0"),
        ({"max_length": "9" * 30}, "less than or equal to"),
        ({"score_at": "first"}, "not one of the available choices"),
    ],
)
def test_what_cannot_be_registered_is_said_beside_the_form_and_nothing_typed_is_lost(
    as_casey: Client, change: dict[str, str], words: str
) -> None:
    factories.checkpoint("tiny")
    response = as_casey.post(MODELS, WANTED | {"revision": "v1"} | change)
    assert response.status_code == 422
    assert words in text(response)
    assert 'value="v1"' in response.content.decode()
    assert Checkpoint.objects.count() == 1


def test_an_id_too_long_for_a_file_name_is_taken_for_an_id(as_casey: Client) -> None:
    assert as_casey.post(MODELS, WANTED | {"reference": "x" * 300}).status_code == 302


def test_a_model_fine_tuned_on_a_dataset_is_shown_to_its_curators_without_its_folder(
    dataset: Dataset, as_casey: Client, client: Client
) -> None:
    folder = "/srv/home/models/1/01/model"
    tuned = factories.checkpoint("tuned", dataset=dataset, reference=folder)
    for address in (MODELS, page_of(tuned)):
        page = text(as_casey.get(address))
        assert f"ine-tuned {'here ' if address != MODELS else ''}on {dataset.name}" in page
        assert folder not in page
    offered = text(as_casey.get(reverse("scoring:ensembles", args=[dataset.slug])))
    assert "tuned (Llama, float32)" in offered
    olga = factories.user("olga")
    elsewhere = factories.dataset("elsewhere", curators=[olga])
    client.force_login(olga)
    assert "tuned" not in text(client.get(MODELS)).replace("fine-tuned", "")
    assert client.get(page_of(tuned)).status_code == 404
    assert client.post(reverse("scoring:model-again", args=["tuned"])).status_code == 404
    offered = text(client.get(reverse("scoring:ensembles", args=[elsewhere.slug])))
    assert "tuned (Llama" not in offered
    chosen = {"name": "taken", "checkpoints": [tuned.pk]}
    refused = client.post(reverse("scoring:assemble", args=[elsewhere.slug]), chosen)
    assert refused.status_code == 422
    assert not Ensemble.objects.exists()


def test_a_second_click_registers_no_second_model(as_casey: Client) -> None:
    assert as_casey.post(MODELS, WANTED).status_code == 302
    assert as_casey.post(MODELS, WANTED).status_code == 422
    assert Checkpoint.objects.count() == 1


def test_who_only_annotates_sees_and_registers_no_models(client: Client, annotator: User) -> None:
    checkpoint = factories.checkpoint("tiny", status="failed")
    client.force_login(annotator)
    again = reverse("scoring:model-again", args=["tiny"])
    for address in (MODELS, page_of(checkpoint)):
        assert client.get(address).status_code == 403
    for address in (MODELS, again):
        assert client.post(address, WANTED).status_code == 403
    checkpoint.refresh_from_db()
    assert checkpoint.status == "failed"
    assert Checkpoint.objects.count() == 1


def test_the_way_there_is_shown_to_those_who_may_go_it(
    as_casey: Client, annotator: User, dataset: Dataset
) -> None:
    link = f'href="{MODELS}"'
    assert link in as_casey.get("/").content.decode()
    assert link in as_casey.get(reverse("scoring:ensembles", args=["pairs"])).content.decode()
    client = Client()
    client.force_login(annotator)
    for address in ("/", reverse("scoring:overview", args=["pairs"])):
        assert link not in client.get(address).content.decode()


# --- One model ------------------------------------------------------------------------------------


def test_the_page_of_a_model_shows_what_was_registered_and_how_it_was_tested(
    as_casey: Client,
) -> None:
    checkpoint = factories.checkpoint("tiny", revision="v1")
    page = text(as_casey.get(page_of(checkpoint)))
    for name in ("weights_digest", "tokenizer_digest", "template_digest"):
        assert checkpoint.identity[name] in page
    assert checkpoint.digest in page
    for words in ("123,600,000", "2,048 tokens", "the last token", "v1", "2.13.0+cpu", "61 k"):
        assert words in page
    assert page.count("agrees</span>") == 3
    assert "2.4 × 10⁻⁷" in page
    assert "DIFFERS" not in page


def test_a_way_of_batching_that_differs_is_told_from_one_that_failed(as_casey: Client) -> None:
    tested = {
        **factories.checkpoint("other").self_test,
        "packs": False,
        "checks": [
            {"name": "shuffled", "largest": 1e-7, "passed": True},
            {"name": "left-padded, batches of 8", "largest": 0.25, "passed": False},
            {"name": "packed, prompt shared", "largest": None, "passed": False},
        ],
    }
    checkpoint = factories.checkpoint("tiny", self_test=tested)
    page = text(as_casey.get(page_of(checkpoint)))
    assert page.count("DIFFERS") == 2
    assert "0.25" in page
    assert "an error" in page
    assert "It is only run in ways in which" in page
    assert "differs in 2 of 3 ways" in text(as_casey.get(MODELS))


def test_a_model_that_waits_is_asked_for_again_until_it_is_over(as_casey: Client) -> None:
    nothing: dict[str, Any] = {"identity": {}, "self_test": {}, "digest": ""}
    checkpoint = factories.checkpoint("tiny", status="queued", **nothing)
    page = as_casey.get(page_of(checkpoint)).content.decode()
    assert 'hx-trigger="every 1s"' in page
    headers = {"HX-Request": "true"}
    part = as_casey.get(page_of(checkpoint), headers=headers).content.decode()
    assert "queued" in part
    assert "<html" not in part
    Checkpoint.objects.update(status="done")
    assert as_casey.get(page_of(checkpoint), headers=headers)["HX-Refresh"] == "true"
    assert "every 1s" not in as_casey.get(page_of(checkpoint)).content.decode()


def test_a_model_that_failed_says_why_and_is_tested_again_once(as_casey: Client) -> None:
    problem = "tiny gives 2 scores a text (num_labels); a reward model gives one."
    checkpoint = factories.checkpoint("tiny", status="failed", problem=problem)
    again = reverse("scoring:model-again", args=["tiny"])
    page = as_casey.get(page_of(checkpoint)).content.decode()
    assert problem in page
    assert f'action="{again}"' in page
    response: Any = as_casey.post(again)
    assert response["Location"] == page_of(checkpoint)
    checkpoint.refresh_from_db()
    assert (checkpoint.status, checkpoint.problem) == ("queued", "")
    assert again not in as_casey.get(page_of(checkpoint)).content.decode()
    assert as_casey.post(again).status_code == 400  # a second click


def test_a_model_that_is_done_is_not_tested_again(as_casey: Client) -> None:
    checkpoint = factories.checkpoint("tiny")
    assert as_casey.post(reverse("scoring:model-again", args=["tiny"])).status_code == 400
    checkpoint.refresh_from_db()
    assert checkpoint.is_usable


def test_only_ensembles_of_ones_own_datasets_are_named(
    as_casey: Client, casey: User, dataset: Dataset
) -> None:
    models = [factories.checkpoint("tiny"), factories.checkpoint("other")]
    theirs = factories.dataset("theirs", curators=[factories.user("else")])
    seen = factories.dataset("seen", annotators=[casey])
    for into in (dataset, theirs, seen):
        launch.assemble(dataset=into, name=f"of-{into.slug}", by=None, checkpoints=models)
    page = as_casey.get(page_of(models[0])).content.decode()
    assert "of-pairs" in page
    assert "of-theirs" not in page
    assert "of-seen" not in page


def test_a_model_that_is_not_there_is_not_found(as_casey: Client) -> None:
    assert as_casey.get("/models/nothing/").status_code == 404
    assert as_casey.post("/models/nothing/again/").status_code == 404


def test_models_are_watched_with_get_and_tested_with_post(as_casey: Client) -> None:
    checkpoint = factories.checkpoint("tiny")
    assert as_casey.post(page_of(checkpoint)).status_code == 405
    assert as_casey.get(reverse("scoring:model-again", args=["tiny"])).status_code == 405


def test_the_reference_of_a_model_is_text(as_casey: Client) -> None:
    checkpoint = factories.checkpoint("tiny", reference="<script>alert(1)</script>")
    for address in (MODELS, page_of(checkpoint)):
        assert "<script>alert(1)" not in as_casey.get(address).content.decode()


# --- Assembling -----------------------------------------------------------------------------------


@pytest.fixture
def models(db: Any) -> list[Checkpoint]:
    return [factories.checkpoint("tiny"), factories.checkpoint("other")]


def assemble(desk: Client, models: list[Checkpoint], **changes: Any) -> Any:
    data = {"name": "both", "checkpoints": [model.pk for model in models], **changes}
    return desk.post(reverse("scoring:assemble", args=["pairs"]), data)


def test_an_ensemble_is_assembled_from_its_form(
    dataset: Dataset, as_casey: Client, models: list[Checkpoint]
) -> None:
    response = assemble(as_casey, models)
    assert response["Location"] == reverse("scoring:ensemble", args=["pairs", "both"])
    ensemble = Ensemble.objects.get()
    assert {member.name for member in ensemble.members.all()} == {"tiny", "other"}
    page = text(as_casey.get(response["Location"]))
    for model in models:
        assert f'href="{page_of(model)}"' in page
        assert model.digest[:16] in page
    assert "Score the dataset" in page
    assert "Engine options" in page
    assert "both" in text(as_casey.get(reverse("scoring:ensembles", args=["pairs"])))


def test_heads_and_registered_models_make_one_ensemble(
    dataset: Dataset, as_casey: Client, models: list[Checkpoint], tiny_backbone: str
) -> None:
    rows = [factories.row(n, label="b" if n % 5 == 0 else "a") for n in range(24)]
    factories.imported(dataset, rows)
    heads = factories.trained(dataset, tiny_backbone, members=2)
    page = as_casey.get(reverse("scoring:ensembles", args=["pairs"])).content.decode()
    assert f'<option value="{heads.pk}">heads</option>' in page
    assert "Engine options" not in text(
        as_casey.get(reverse("scoring:ensemble", args=["pairs", "heads"]))
    )
    response = assemble(as_casey, models[:1], heads_of=heads.pk)
    page = text(as_casey.get(response["Location"]))
    assert "Mean of the heads" in page
    assert "none: it saw no pair" in page
    assert reverse("scoring:ensemble", args=["pairs", "heads"]) in page
    listing = text(as_casey.get(reverse("scoring:ensembles", args=["pairs"])))
    assert "and 1 registered" in listing


@pytest.mark.parametrize(
    ("chosen", "change", "words"),
    [
        (0, {}, "Choose at least one registered model"),
        (1, {}, "needs two members"),
        (2, {"name": "no spaces"}, "Use letters, digits"),
        (2, {"name": "taken"}, "has an ensemble called"),
        (2, {"heads_of": "999"}, "not one of the available choices"),
        (2, {"checkpoints": ["999"]}, "not one of the available choices"),
        (2, {"checkpoints": ["x"]}, "not a valid value"),
    ],
)
def test_what_cannot_be_assembled_is_said_beside_the_form_and_what_was_chosen_stays(
    dataset: Dataset,
    as_casey: Client,
    models: list[Checkpoint],
    chosen: int,
    change: dict[str, Any],
    words: str,
) -> None:
    launch.assemble(dataset=dataset, name="taken", by=None, checkpoints=models)
    response = assemble(as_casey, models[:chosen], **change)
    assert response.status_code == 422
    assert words in text(response)
    assert f'value="{change.get("name", "both")}"' in response.content.decode()
    assert Ensemble.objects.count() == 1
    assert "Train an ensemble" in text(response)  # the other form is as it was


def test_models_that_are_not_usable_are_not_offered(dataset: Dataset, as_casey: Client) -> None:
    broken = factories.checkpoint("broken", status="failed")
    page = text(as_casey.get(reverse("scoring:ensembles", args=["pairs"])))
    assert "No registered model is ready yet" in page
    assert assemble(as_casey, [broken]).status_code == 422


def test_heads_of_another_dataset_are_not_offered(
    dataset: Dataset, as_casey: Client, models: list[Checkpoint], casey: User
) -> None:
    other = factories.dataset("elsewhere", curators=[casey])
    heads = Ensemble.objects.create(dataset=other, name="heads", members_count=2)
    TrainingRun.objects.create(ensemble=heads, status="done")
    assert assemble(as_casey, models, heads_of=heads.pk).status_code == 422


def test_a_second_click_assembles_no_second_ensemble(
    dataset: Dataset, as_casey: Client, models: list[Checkpoint]
) -> None:
    assert assemble(as_casey, models).status_code == 302
    assert assemble(as_casey, models).status_code == 422
    assert Ensemble.objects.count() == 1


def test_only_curators_assemble(
    dataset: Dataset, client: Client, models: list[Checkpoint], annotator: User
) -> None:
    client.force_login(factories.user("stranger"))
    assert assemble(client, models).status_code == 404
    client.force_login(annotator)
    assert assemble(client, models).status_code == 403
    assert not Ensemble.objects.exists()


def test_nothing_is_assembled_by_a_link(dataset: Dataset, as_casey: Client) -> None:
    assert as_casey.get(reverse("scoring:assemble", args=["pairs"])).status_code == 405


def test_many_ensembles_and_members_take_as_many_queries_as_few(
    dataset: Dataset, as_casey: Client, models: list[Checkpoint]
) -> None:
    launch.assemble(dataset=dataset, name="first", by=None, checkpoints=models)
    listing = reverse("scoring:ensembles", args=["pairs"])
    few = count_of_queries(as_casey, listing)
    of_two = count_of_queries(as_casey, reverse("scoring:ensemble", args=["pairs", "first"]))
    more = [factories.checkpoint(f"further-{number}") for number in range(6)]
    for number in range(5):
        launch.assemble(dataset=dataset, name=f"of-{number}", by=None, checkpoints=more)
    assert count_of_queries(as_casey, listing) == few
    of_six = count_of_queries(as_casey, reverse("scoring:ensemble", args=["pairs", "of-0"]))
    assert of_six == of_two
