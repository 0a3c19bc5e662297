"""What the pages show and take, without scripts."""

import io
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from annotations.models import Dataset, Import, Snapshot
from curator import sign_in_links
from curator.models import User
from curator.requests import client_address
from scoring.models import Mode, ScoringRun, TrainingRun
from tests import factories
from tests.scenarios import Scene


@pytest.fixture
def desk(scene: Scene, client: Client) -> Client:
    client.force_login(scene.curator)
    return client


def get(desk: Client, name: str, *arguments: Any, **query: Any) -> Any:
    return desk.get(reverse(name, args=arguments), query)


# --- Signing in -----------------------------------------------------------------------------------


def test_a_sign_in_link_works_once(client: Client, casey: User) -> None:
    path = sign_in_links.path_for(casey)
    assert client.get(path).status_code == 200
    assert "_auth_user_id" not in client.session  # a preview of the link signs nobody in
    response = client.post(path)
    assert response.status_code == 302
    assert client.session["_auth_user_id"] == str(casey.pk)
    assert Client().post(path).status_code == 410


@pytest.mark.parametrize("mark", ["", "!!", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk", "MQ"])
def test_a_link_that_was_made_up_signs_nobody_in(client: Client, casey: User, mark: str) -> None:
    url = f"/sign-in/{mark or 'x'}/made-up-token/"
    assert client.post(url).status_code == 410


@pytest.mark.parametrize("address", ["https://elsewhere.example/", "foo"])
def test_a_link_does_not_lead_to_another_site(client: Client, casey: User, address: str) -> None:
    path = sign_in_links.path_for(casey)
    response: Any = client.post(path, {"next": address})
    assert response["Location"] == "/"


def test_who_guesses_passwords_is_locked_out_and_the_owner_is_not(
    client: Client, casey: User, settings: Any
) -> None:
    url = reverse("sign-in")
    for _ in range(settings.AXES_FAILURE_LIMIT):
        answer: Any = client.post(url, {"username": "casey", "password": "guess"})
    assert answer.status_code == 429
    assert "Too many wrong passwords" in answer.content.decode()
    right = {"username": "casey", "password": "a long enough password"}
    assert client.post(url, right).status_code == 429
    elsewhere = Client(REMOTE_ADDR="10.1.2.3")
    assert elsewhere.post(url, right).status_code == 302


def test_behind_a_proxy_the_guesser_is_known_by_what_the_proxy_saw(rf: Any, settings: Any) -> None:
    """The last entry is the proxy's; the others are whatever the guesser wrote."""
    forged = rf.get("/", headers={"X-Forwarded-For": "1.1.1.1, 203.0.113.9"})
    assert client_address(forged) == "127.0.0.1"
    settings.CURATOR_HTTPS = True
    assert client_address(forged) == "203.0.113.9"


def test_a_part_of_a_page_is_no_place_for_the_sign_in_page(client: Client, db: Any) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/datasets/x/runs/1/"}
    response: Any = client.get("/datasets/x/runs/1/", headers=headers)
    assert response["HX-Redirect"] == "/sign-in/?next=/datasets/x/runs/1/"


def test_what_is_gone_is_a_notice_to_a_part_of_a_page(as_casey: Client) -> None:
    response = as_casey.get("/datasets/x/", headers={"HX-Request": "true"})
    assert response.status_code == 404
    assert "<html" not in response.content.decode()
    assert response["HX-Retarget"] == "#notices"


# --- Datasets and imports -------------------------------------------------------------------------


def test_a_new_dataset_belongs_to_its_maker(client: Client, casey: User) -> None:
    client.force_login(casey)
    response: Any = client.post(reverse("annotations:dataset-new"), {"name": "My Pairs"})
    dataset = Dataset.objects.get(slug="my-pairs")
    assert response["Location"] == reverse("annotations:import-new", args=["my-pairs"])
    assert dataset.memberships.get().role == "owner"


@pytest.mark.parametrize(
    ("data", "field"),
    [({"name": ""}, "name"), ({"name": "日本"}, "slug"), ({"name": "x", "slug": "A b"}, "slug")],
)
def test_a_dataset_without_a_usable_name_is_asked_for_again(
    client: Client, casey: User, data: dict[str, str], field: str
) -> None:
    client.force_login(casey)
    response: Any = client.post(reverse("annotations:dataset-new"), data)
    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert not Dataset.objects.exists()


def test_an_upload_becomes_an_import_that_waits(dataset: Dataset, as_casey: Client) -> None:
    file = io.BytesIO(factories.file_of([factories.row(1)]).getvalue())
    file.name = "mine.jsonl"
    url = reverse("annotations:import-new", args=[dataset.slug])
    response: Any = as_casey.post(url, {"file": file, "layout": "auto"})
    row = Import.objects.get()
    assert response["Location"] == reverse("annotations:import", args=[dataset.slug, row.pk])
    assert (row.file_name, row.status) == ("mine.jsonl", "queued")
    page = as_casey.get(response["Location"]).content.decode()
    assert "No worker" in page


def test_an_upload_past_the_cap_is_refused_with_its_size(
    dataset: Dataset, as_casey: Client, settings: Any
) -> None:
    settings.MAX_UPLOAD_BYTES = 1000
    file = io.BytesIO(b"x" * 100_000)
    file.name = "large.jsonl"
    url = reverse("annotations:import-new", args=[dataset.slug])
    response = as_casey.post(url, {"file": file, "layout": "auto"})
    assert response.status_code == 422
    assert "split it, or compress it" in response.content.decode()
    assert not Import.objects.exists()


def test_a_failed_import_shows_its_sentence_and_the_next_step(
    dataset: Dataset, as_casey: Client
) -> None:
    row = factories.imported(dataset, b"")
    page = get(as_casey, "annotations:import", dataset.slug, row.pk).content.decode()
    assert "The file is empty." in page


# --- Ensembles, runs, audits ----------------------------------------------------------------------


def test_training_is_launched_from_its_form(scene: Scene, desk: Client) -> None:
    data = {"name": "second", "members": 4, "backbone": "minilm", "seed": 0, "bag_unit": "prompt"}
    response: Any = desk.post(reverse("scoring:ensembles", args=["scene"]), data)
    run = TrainingRun.objects.get(ensemble__name="second")
    assert response["Location"] == reverse("scoring:ensemble", args=["scene", "second"])
    assert run.ensemble.recipe == {"seed": 0, "bag_unit": "prompt"}
    page = desk.get(response["Location"]).content.decode()
    assert "No worker" in page


def test_a_training_follows_the_recipe_that_was_chosen(scene: Scene, desk: Client) -> None:
    url = reverse("scoring:ensembles", args=["scene"])
    shown = desk.get(url).content.decode()
    assert '<option value="flip + margin">' in shown
    data = {"name": "second", "members": 4, "backbone": "minilm", "seed": 0, "bag_unit": "pair"}
    response: Any = desk.post(url, data | {"recipe": "flip + margin", "run": scene.run.pk})
    assert response.status_code == 302
    recipe = TrainingRun.objects.get(ensemble__name="second").ensemble.recipe
    assert (recipe["training"]["name"], recipe["run"]) == ("flip + margin", scene.run.pk)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"recipe": "none such"}, "Select a valid choice"),
        ({"recipe": "MetaRM"}, "several responses to a prompt"),
        ({"recipe": "flip + margin", "run": 10**6}, "Select a valid choice"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_said_on_the_form(
    scene: Scene, desk: Client, change: dict[str, Any], sentence: str
) -> None:
    data = {"name": "mine", "members": 4, "backbone": "minilm", "seed": 7, "bag_unit": "pair"}
    response: Any = desk.post(reverse("scoring:ensembles", args=["scene"]), data | change)
    assert response.status_code == 422
    assert sentence in response.content.decode()
    assert scene.dataset.ensembles.count() == 1


@pytest.mark.parametrize(
    "change", [{"members": 3}, {"name": "heads"}, {"name": "no spaces"}, {"backbone": "/etc"}]
)
def test_a_training_that_cannot_be_is_said_on_its_form_and_nothing_typed_is_lost(
    scene: Scene, desk: Client, change: dict[str, Any]
) -> None:
    data = {"name": "mine", "members": 4, "backbone": "minilm", "seed": 7, "bag_unit": "pair"}
    response: Any = desk.post(reverse("scoring:ensembles", args=["scene"]), data | change)
    assert response.status_code == 422
    assert response.context["form"].errors
    assert 'value="7"' in response.content.decode()
    assert scene.dataset.ensembles.count() == 1


def test_a_run_is_launched_cancelled_and_started_again(scene: Scene, desk: Client) -> None:
    url = reverse("scoring:score", args=["scene", "heads"])
    response: Any = desk.post(url, {"mode": Mode.IN_SAMPLE})
    run = ScoringRun.objects.order_by("-pk")[0]
    assert response["Location"] == reverse("scoring:run", args=["scene", run.pk])
    desk.post(reverse("scoring:run-cancel", args=["scene", run.pk]))
    run.refresh_from_db()
    assert run.status == "cancelled"
    desk.post(reverse("scoring:run-retry", args=["scene", run.pk]))
    run.refresh_from_db()
    assert run.status == "queued"


def test_an_audit_is_launched_from_its_run(scene: Scene, desk: Client) -> None:
    desk.post(reverse("scoring:audit", args=["scene", scene.run.pk]), {"share": "20"})
    assert scene.run.audits.get().share == 0.2


@pytest.mark.parametrize("share", ["0.2", "60", "all", ""])
def test_an_audit_takes_percent_and_says_so(scene: Scene, desk: Client, share: str) -> None:
    refused = desk.post(reverse("scoring:audit", args=["scene", scene.run.pk]), {"share": share})
    assert refused.status_code == 400
    said = refused.content.decode().replace("\u202f", " ")
    assert "Plant between 1 % and 49 % of the labels" in said
    assert not scene.run.audits.exists()


# --- Snapshots and exports ------------------------------------------------------------------------


def test_a_snapshot_is_frozen_exported_and_downloaded(scene: Scene, desk: Client) -> None:
    desk.post(reverse("scoring:decide", args=["scene", scene.pair.pk]), {"verdict": "flip"})
    frozen: Any = desk.post(reverse("scoring:snapshots", args=["scene"]), {"note": "reviewed"})
    snapshot = Snapshot.objects.get(note="reviewed")
    assert frozen["Location"] == reverse("annotations:snapshot", args=["scene", snapshot.number])
    export = factories.exported(snapshot, "trl-reward")
    response = get(desk, "annotations:download", "scene", snapshot.number, export.pk)
    content = b"".join(response.streaming_content)
    assert content.count(b"\n") == export.rows
    assert "attachment" in response["Content-Disposition"]
    assert response["X-Content-Type-Options"] == "nosniff"


def test_freezing_what_has_not_changed_says_so(scene: Scene, desk: Client) -> None:
    for _ in range(2):
        response: Any = desk.post(reverse("scoring:snapshots", args=["scene"]), follow=True)
    assert "Nothing has changed since this snapshot" in response.content.decode()


def test_an_unknown_format_is_refused(scene: Scene, desk: Client) -> None:
    url = reverse("annotations:export", args=["scene", scene.snapshot.number])
    assert desk.post(url, {"format": "pickle"}).status_code == 400


# --- The machinery --------------------------------------------------------------------------------


def test_the_health_check_needs_no_one_signed_in(client: Client, db: Any) -> None:
    response = client.get(reverse("health"))
    assert (response.status_code, response.content) == (200, b"ok")


def test_the_machinery_page_says_what_is_not_running(as_casey: Client) -> None:
    page = get(as_casey, "machinery").content.decode()
    assert "default" in page
    assert "scoring" in page


def test_an_address_that_is_not_there_is_a_page(as_casey: Client) -> None:
    response = as_casey.get("/nowhere/")
    assert response.status_code == 404
    assert "</html>" in response.content.decode()
    assert not settings.DEBUG
