"""The REST API as a program meets it: what a token opens, and what is answered."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from django.utils import timezone

from annotations.models import Dataset, DecisionBatch, Lease
from curator import tokens
from curator.api import api
from curator.lib.refusals import Refusal
from curator.models import ApiToken, User
from scoring import freezing, launch, responses, shards
from scoring.core.options import EngineOptions
from scoring.models import Checkpoint, Ensemble, Experiment, ScoringRun
from scoring.schemas import EngineIn
from tests import factories

NOT_KNOWN = "Show a valid token, as `Authorization: Bearer cur_…`: `manage.py api_token` makes one."
ENSEMBLES = "/datasets/pairs/ensembles"
NOT_HERE = "There is nothing here, or it is not yours to see."


@dataclass(frozen=True)
class Answer:
    status: int
    found: Any
    response: Any

    @property
    def sentence(self) -> str:
        """What a refusal says: one sentence and nothing else."""
        assert set(self.found) == {"detail"}
        return str(self.found["detail"])


class Program:
    """Acts for whoever the token belongs to, without cookies."""

    def __init__(self, token: str | None) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.headers = {"Authorization": f"Bearer {token}"} if token is not None else {}

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, **wanted: Any) -> Answer:
        return self.ask("POST", path, json.dumps(wanted))

    def ask(self, method: str, path: str, body: str = "") -> Answer:
        response: Any = self.client.generic(
            method, f"/api{path}", body, content_type="application/json", headers=self.headers
        )
        is_json = response.headers["Content-Type"].startswith("application/json")
        return Answer(response.status_code, response.json() if is_json else None, response)


def program_of(user: User) -> Program:
    return Program(tokens.issue(user=user, name="tests"))


@dataclass(frozen=True)
class Place:
    """A dataset with an ensemble and two runs that are done, and people who know it or do not."""

    dataset: Dataset
    ensemble: Ensemble
    runs: tuple[ScoringRun, ScoringRun]
    lease: Lease
    batch: DecisionBatch
    experiment: Experiment
    owner: User
    annotator: User
    stranger: User


@pytest.fixture
def place(db: object) -> Place:
    owner, annotator, stranger = map(factories.user, ("olivia", "anna", "stranger"))
    dataset = factories.dataset("pairs", owners=[owner], annotators=[annotator])
    found = {
        pair.pk: (number - 1.0, "flipped" if number < 2 else "clear")
        for number, pair in enumerate(factories.pairs(dataset, 5))
    }
    runs = factories.judged(dataset, found), factories.judged(dataset, found)
    factories.opened_round(dataset)
    lease = factories.leased(factories.annotator(dataset, owner.username))
    freezing.freeze(dataset=dataset, by=owner)
    batch = factories.applied(dataset, "review-first")
    experiment = Experiment.objects.create(
        dataset=dataset, name="known", backbone="minilm", members_count=2, seeds=[0], folds=2
    )
    return Place(
        dataset, runs[0].ensemble, runs, lease, batch, experiment, owner, annotator, stranger
    )


@pytest.fixture
def owner(place: Place) -> Program:
    return program_of(place.owner)


@pytest.fixture
def annotator(place: Place) -> Program:
    return program_of(place.annotator)


@pytest.fixture
def stranger(place: Place) -> Program:
    return program_of(place.stranger)


def registered(name: str, **fields: Any) -> Checkpoint:
    """A model that a worker has loaded and tested."""
    made = {"status": Checkpoint.Status.DONE, "reference": "org/model", "dtype": "float32"}
    return Checkpoint.objects.create(name=name, **{**made, "digest": name, **fields})


def assembled(place: Place) -> Ensemble:
    """An ensemble of registered models, which can score at once."""
    checkpoints = [registered(f"both-{number}") for number in range(2)]
    return launch.assemble(dataset=place.dataset, name="both", by=None, checkpoints=checkpoints)


def started(place: Place) -> ScoringRun:
    """A run that no worker has taken up yet."""
    return ScoringRun.objects.create(dataset=place.dataset, ensemble=place.ensemble)


def addresses() -> Iterator[tuple[str, str]]:
    """The method and the address of every operation."""
    for path, operations in api.get_openapi_schema()["paths"].items():
        for method in operations:
            yield method.upper(), path.removeprefix("/api")


def of(place: Place, address: str) -> str:
    values = {
        "slug": place.dataset.slug,
        "name": "one",
        "run_id": place.runs[0].pk,
        "other_id": place.runs[1].pk,
        "lease_id": place.lease.pk,
        "batch_id": place.batch.pk,
        "experiment_id": place.experiment.pk,
        "called": "1",
        "recipe": "plain",
    }
    return address.format(**values)


BODIES: dict[str, dict[str, Any]] = {
    "/models": {"name": "two", "reference": "org/model"},
    "/datasets/{slug}/ensembles": {"name": "both", "models": ["one", "two"]},
    "/datasets/{slug}/recipes": {"recipe": {"name": "mine"}},
    "/datasets/{slug}/runs": {"ensemble": "heads"},
    "/datasets/{slug}/experiments": {"name": "mine", "arms": [{"name": "raw", "labels": "source"}]},
    "/datasets/{slug}/runs/{run_id}/sample": {"size": 2},
    "/datasets/{slug}/leases/{lease_id}/label": {"choice": "tie"},
    "/datasets/{slug}/snapshots/{called}/tags": {"name": "v1"},
    "/datasets/{slug}/snapshots/{called}/restore": {},
    "/datasets/{slug}/policies/preview": {"policy": "review-first"},
    "/datasets/{slug}/policies/apply": {"policy": "review-first"},
    "/datasets/{slug}/decide/preview": {"where": [], "verdict": "keep"},
    "/datasets/{slug}/decide": {"where": [], "verdict": "keep"},
}
OF_A_DATASET = [(method, path) for method, path in addresses() if "{slug}" in path]
FOR_EVERYBODY = ("/next", "/label", "{slug}/undo")
OF_CURATORS = [(method, path) for method, path in OF_A_DATASET if not path.endswith(FOR_EVERYBODY)]


def ask(program: Program, place: Place, method: str, address: str) -> Answer:
    return program.ask(method, of(place, address), json.dumps(BODIES.get(address, {})))


# --- Tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "address"), [*addresses(), ("GET", "/openapi.json")])
def test_nothing_is_answered_without_a_token(place: Place, method: str, address: str) -> None:
    answer = ask(Program(None), place, method, address)
    assert (answer.status, answer.sentence) == (401, NOT_KNOWN)
    assert answer.response["WWW-Authenticate"] == "Bearer"


def test_no_address_below_api_is_open(place: Place) -> None:
    """The sign-in page does not guard them: a new one is not open by accident."""
    below: Any = get_resolver().namespace_dict["api"][1]
    nobody = Program(None)
    for pattern in below.url_patterns:
        address = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", f"/{pattern.pattern}")
        for method in ("GET", "POST"):
            answer = nobody.ask(method, of(place, address), "{}")
            assert answer.status in (401, 403, 404, 405), address


def test_all_tokens_that_open_nothing_are_told_the_same(place: Place) -> None:
    """Whoever guesses learns neither which tokens there were nor whose."""
    revoked = tokens.issue(user=place.owner, name="revoked")
    tokens.revoke(user=place.owner, name="revoked")
    locked_out = tokens.issue(user=place.stranger, name="tests")
    User.objects.filter(pk=place.stranger.pk).update(is_active=False)
    for secret in (revoked, locked_out, "cur_made-up", "", "olivia", "ÿ"):
        answer = Program(secret).get("/datasets")
        assert (answer.status, answer.sentence) == (401, NOT_KNOWN), secret


def test_a_token_is_shown_as_a_bearer_and_in_no_other_way(place: Place) -> None:
    secret = tokens.issue(user=place.owner, name="tests")
    client = Client()
    for header in (f"Basic {secret}", f"Token {secret}", secret):
        response = client.get("/api/datasets", headers={"Authorization": header})
        assert response.status_code == 401
    assert client.get(f"/api/datasets?token={secret}").status_code == 401
    response = client.get("/api/datasets", headers={"Authorization": f"bearer {secret}"})
    assert response.status_code == 200


def test_who_is_signed_in_in_a_browser_is_not_known_to_the_api(place: Place) -> None:
    """Else a page of another site could make the browser act."""
    client = Client()
    client.force_login(place.owner)
    assert client.get("/api/datasets").status_code == 401
    assert client.post(f"/api/datasets/pairs/runs/{started(place).pk}/cancel").status_code == 401


def test_a_token_opens_no_page(place: Place, owner: Program) -> None:
    response: Any = owner.client.get("/datasets/pairs/", headers=owner.headers)
    assert response.status_code == 302
    assert response["Location"].startswith("/sign-in/")


def test_the_secret_is_kept_nowhere(casey: User) -> None:
    secret = tokens.issue(user=casey, name="laptop")
    assert secret.startswith("cur_")
    assert len(secret) >= 4 + 43
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM curator_apitoken")
        kept = [str(value) for row in cursor.fetchall() for value in row]
    assert all(secret not in value and secret[4:] not in value for value in kept)


def test_two_tokens_differ(casey: User) -> None:
    assert tokens.issue(user=casey, name="one") != tokens.issue(user=casey, name="two")


def test_who_is_locked_out_gets_no_token(casey: User) -> None:
    casey.is_active = False
    with pytest.raises(Refusal, match="casey is locked out"):
        tokens.issue(user=casey, name="one")


def test_the_last_use_is_noted_once_a_minute(casey: User) -> None:
    program, token = program_of(casey), ApiToken.objects.get
    began = timezone.now()
    with time_machine.travel(began, tick=False):
        assert program.get("/datasets").status == 200
    assert token().last_used_at == began
    with time_machine.travel(began + timedelta(seconds=59), tick=False):
        with CaptureQueriesContext(connection) as asked:
            program.get("/datasets")
        assert not [query for query in asked if query["sql"].startswith("UPDATE")]
    assert token().last_used_at == began
    with time_machine.travel(began + timedelta(seconds=61), tick=False):
        program.get("/datasets")
    assert token().last_used_at == began + timedelta(seconds=61)


# --- Who may do what ------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "address"), OF_A_DATASET)
def test_a_stranger_does_not_learn_that_the_dataset_exists(
    place: Place, stranger: Program, method: str, address: str
) -> None:
    answer = ask(stranger, place, method, address)
    assert (answer.status, answer.sentence) == (404, NOT_HERE)
    nowhere = stranger.ask(method, of(place, address).replace("pairs", "nowhere"), "{}")
    assert nowhere.status in (404, 422)  # 422: a body is read before anybody looks for the dataset


@pytest.mark.parametrize(("method", "address"), OF_CURATORS)
def test_an_annotator_is_told_whom_to_ask(
    place: Place, annotator: Program, method: str, address: str
) -> None:
    answer = ask(annotator, place, method, address)
    assert answer.status == 403
    assert "Only curators and owners of Pairs" in answer.sentence


@pytest.mark.parametrize(("method", "address"), [*addresses()])
def test_an_owner_reaches_everything(
    place: Place, owner: Program, method: str, address: str
) -> None:
    registered("one")
    assert ask(owner, place, method, address).status in (200, 201, 202, 422)


def test_who_only_annotates_sees_no_models_and_registers_none(annotator: Program) -> None:
    registered("one")
    for answer in (
        annotator.get("/models"),
        annotator.get("/models/one"),
        annotator.post("/models", name="two", reference="org/model"),
    ):
        assert answer.status == 403
    assert not Checkpoint.objects.filter(name="two").exists()


def test_a_run_is_not_reached_through_another_dataset(place: Place) -> None:
    other = factories.dataset("other", owners=[place.stranger])
    run, stranger = started(place), program_of(place.stranger)
    assert stranger.get(f"/datasets/other/runs/{run.pk}").status == 404
    assert stranger.post(f"/datasets/other/runs/{run.pk}/cancel").status == 404
    own = factories.judged(other, {pair.pk: (1.0, "clear") for pair in factories.pairs(other)})
    compared = f"/datasets/other/runs/{own.pk}/compare/{place.runs[0].pk}"
    assert stranger.get(compared).status == 404
    run.refresh_from_db()
    assert run.status == ScoringRun.Status.QUEUED


def test_nothing_of_another_dataset_is_used_or_named(place: Place) -> None:
    factories.dataset("other", owners=[place.stranger])
    registered("one")
    program = program_of(place.stranger)
    run = program.post("/datasets/other/runs", ensemble="heads")
    made = {"name": "mine", "models": ["one"], "heads_of": "heads"}
    for answer in (run, program.post("/datasets/other/ensembles", **made)):
        assert answer.status == 422
        assert answer.sentence == "other has no ensemble 'heads'; it has: none."


def test_what_changes_something_is_not_done_by_a_link(place: Place, owner: Program) -> None:
    known = set(addresses())
    for method, address in known:
        other = "GET" if method == "POST" else "POST"
        if (other, address) not in known:
            assert ask(owner, place, other, address).status == 405, address
        assert ask(owner, place, "DELETE", address).status == 405, address


# --- Datasets -------------------------------------------------------------------------------------


def test_one_sees_the_datasets_that_one_is_in_as_on_the_pages(
    place: Place, owner: Program, annotator: Program, stranger: Program
) -> None:
    factories.dataset("other", owners=[place.stranger], annotators=[place.owner])
    whole = {"slug": "pairs", "name": "Pairs", "role": "owner", "pairs": 5}
    blind = {"slug": "other", "name": "Other", "role": "annotator", "pairs": None}
    assert owner.get("/datasets").found == [blind, whole]
    assert annotator.get("/datasets").found == [{**whole, "role": "annotator", "pairs": None}]
    assert [each["slug"] for each in stranger.get("/datasets").found] == ["other"]


# --- Models ---------------------------------------------------------------------------------------


def test_a_model_is_registered_for_a_worker_to_test(owner: Program, place: Place) -> None:
    wanted = {"dtype": "bfloat16", "max_length": 512, "score_at": "last", "revision": "v1"}
    answer = owner.post("/models", name="mine", reference="org/model", **wanted)
    assert answer.status == 202
    assert {name: answer.found[name] for name in wanted} == wanted
    assert answer.found["status"] == "queued"
    assert answer.found["self_test"] is None
    assert Checkpoint.objects.get(name="mine").created_by == place.owner
    assert owner.get("/models/mine").found == answer.found
    assert owner.get("/models").found == [answer.found]


def test_a_name_is_taken_once(owner: Program) -> None:
    wanted = {"name": "mine", "reference": "org/model"}
    assert owner.post("/models", **wanted).status == 202
    answer = owner.post("/models", **wanted)
    assert answer.status == 409
    assert "is registered already: choose another name" in answer.sentence


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({}, "name: Field required; reference: Field required."),
        ({"name": "a b", "reference": "x"}, "'a b' cannot be an ensemble"),
        ({"name": "a", "reference": " "}, "Say where the model is"),
        ({"name": "a", "reference": "x", "dtype": "int8"}, "dtype: Input should be 'float32' or"),
        ({"name": "a", "reference": "x", "max_length": -1}, "max_length: Input should be greater"),
        ({"name": "a", "reference": "x", "score_at": "first"}, "score_at: Input should be 'last'"),
        ({"name": "a", "reference": "x\0"}, "reference: Value error, A text holds no NUL"),
        ({"name": "a", "reference": "x" * 301}, "at most 300 characters"),
        ({"name": "a", "reference": "x", "dtyp": "int8"}, "dtyp: Extra inputs are not permitted."),
        ({"name": "a", "reference": "/etc"}, "a folder must lie in"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused_with_a_sentence(
    owner: Program, wanted: dict[str, Any], sentence: str
) -> None:
    answer = owner.post("/models", **wanted)
    assert answer.status == 422
    assert sentence in answer.sentence
    assert not Checkpoint.objects.exists()


@pytest.mark.parametrize("body", ["", "{", "\x80", '"mine"', "[]", "null"])
def test_what_is_not_an_object_is_refused(owner: Program, body: str) -> None:
    answer = owner.ask("POST", "/models", body)
    assert answer.status in (400, 422)
    assert answer.sentence


def test_a_tested_model_says_how_its_scores_differ(owner: Program) -> None:
    checks: list[dict[str, Any]] = [
        {"name": "shuffled", "largest": 1e-6, "passed": True},
        {"name": "packed", "largest": None, "passed": False},
    ]
    test = {"tolerance": 1e-4, "packs": False, "tokens_per_second": 10.0, "checks": checks}
    registered(
        "one",
        identity={
            "architecture": "LlamaForSequenceClassification",
            "parameters": 7,
            "max_length": 9,
        },
        self_test={**test, "texts": 12},
    )
    found = owner.get("/models/one").found
    assert (found["parameters"], found["tokens_read"]) == (7, 9)
    assert found["self_test"] == test


def test_a_model_fine_tuned_on_a_dataset_is_for_its_curators(owner: Program) -> None:
    pairs = Dataset.objects.get(slug="pairs")
    registered("tuned", dataset=pairs, reference="/srv/home/models/1/01/model")
    registered("public")
    olga = factories.user("olga")
    factories.dataset("elsewhere", curators=[olga])
    outsider = program_of(olga)
    found = {each["name"]: each for each in owner.get("/models").found}
    assert (found["tuned"]["dataset"], found["tuned"]["reference"]) == ("pairs", None)
    assert (found["public"]["dataset"], found["public"]["reference"]) == (None, "org/model")
    assert [each["name"] for each in outsider.get("/models").found] == ["public"]
    assert outsider.get("/models/tuned").status == 404
    wanted = {"name": "taken", "models": ["tuned", "public"]}
    answer = outsider.post("/datasets/elsewhere/ensembles", **wanted)
    assert answer.status == 422
    assert answer.sentence == "No model is registered as 'tuned'; there are: public."
    assert owner.post("/datasets/pairs/ensembles", **wanted).status == 201


def test_a_model_that_is_not_there_is_not_found(owner: Program) -> None:
    answer = owner.get("/models/nowhere")
    assert (answer.status, answer.sentence) == (404, NOT_HERE)
    assert owner.get("/models/%00").status == 422


# --- Ensembles ------------------------------------------------------------------------------------


def test_an_ensemble_is_assembled_and_can_score(place: Place, owner: Program) -> None:
    registered("one")
    registered("two")
    answer = owner.post("/datasets/pairs/ensembles", name="both", models=["two", "one"])
    assert answer.status == 201
    assert answer.found["members"] == ["two", "one"]
    assert answer.found["is_trained"]
    assert answer.found["is_assembled"]
    listed = {each["name"]: each for each in owner.get("/datasets/pairs/ensembles").found}
    assert listed["both"] == answer.found
    assert not listed["heads"]["is_trained"]
    assert owner.post("/datasets/pairs/runs", ensemble="both").status == 202


def test_an_ensemble_is_trained_by_a_recipe(place: Place, owner: Program) -> None:
    factories.imported(place.dataset, [factories.row(number) for number in range(20, 45)])
    by_name = owner.post(ENSEMBLES, name="named", recipe="label smoothing", members=4)
    assert (by_name.status, by_name.found["is_trained"]) == (202, False)
    assert (by_name.found["recipe"], by_name.found["training"]) == ("label smoothing", "queued")
    written = {"name": "mine", "loss": {"name": "unbiased", "noise": 0.2}}
    in_full = owner.post(ENSEMBLES, name="written", recipe=written)
    assert (in_full.status, in_full.found["recipe"]) == (202, "mine")
    kept = owner.get("/datasets/pairs/recipes/mine").found
    assert (kept["version"], kept["is_preset"]) == (1, False)
    assert kept["recipe"]["loss"] == written["loss"]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"recipe": "none such"}, "pairs has no recipe “none such”; there are: plain"),
        ({"recipe": {"name": "x", "loss": {"noise": 0.5}}}, "from 0 and below 0.5, not 0.5."),
        ({"recipe": "plain", "models": ["one"]}, "trained by a recipe or put together"),
        ({"recipe": "plain", "backbone": "/etc"}, "The backbone '/etc' is not known: minilm"),
        ({"recipe": "plain", "members": 3}, "an even number of members"),
        ({"recipe": "MetaRM"}, "import_responses pairs FILE"),
        ({"recipe": "MetaRM", "responses": "x"}, "pairs has no responses “x”"),
        ({"recipe": "adaptive margin", "run": 10**6}, "pairs has no run 1000000"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(
    place: Place, owner: Program, wanted: dict[str, Any], sentence: str
) -> None:
    factories.imported(place.dataset, [factories.row(number) for number in range(20, 45)])
    answer = owner.post(ENSEMBLES, **{"name": "fresh", **wanted})
    assert answer.status in (400, 422)
    assert sentence in answer.sentence


def test_recipes_are_listed_kept_and_read(place: Place, owner: Program) -> None:
    before = owner.get("/datasets/pairs/recipes").found
    assert before[0]["name"] == "plain"
    assert all(each["is_preset"] and each["version"] is None for each in before)
    wanted = {"name": "mine/ours", "treatments": [{"when": {}, "then": {"alpha": 0.2}}]}
    kept = owner.post("/datasets/pairs/recipes", recipe=wanted)
    assert (kept.status, kept.found["version"]) == (201, 1)
    assert owner.get("/datasets/pairs/recipes/mine/ours").found == kept.found
    assert len(owner.get("/datasets/pairs/recipes").found) == len(before) + 1
    refused = owner.post("/datasets/pairs/recipes", recipe={"name": "x", "treatments": 3})
    assert "`treatments` is a list, not 3." in refused.sentence


def test_sampled_responses_are_listed(place: Place, owner: Program) -> None:
    assert owner.get("/datasets/pairs/responses").found == []
    file = factories.file_of([{"prompt": "Why?", "responses": ["a", "b", "c"]}])
    responses.store(dataset=place.dataset, file=file, name="samples", by=None)
    (listed,) = owner.get("/datasets/pairs/responses").found
    assert (listed["name"], listed["prompts"], listed["responses"]) == ("samples", 1, 3)


@pytest.mark.parametrize(
    ("wanted", "status", "sentence"),
    [
        ({"name": "heads", "models": ["one", "two"]}, 409, "choose another name"),
        ({"name": "x", "models": ["one", "three"]}, 422, "No model is registered as 'three'"),
        ({"name": "x", "models": ["one"]}, 422, "An ensemble needs two members"),
        ({"name": "x", "models": []}, 422, "Choose at least one registered model"),
        ({"name": "x", "models": ["one", "raw"]}, 422, "raw: not registered to the end"),
        ({"name": "x", "models": ["one", 2]}, 422, "models.1: Input should be a valid string."),
        ({"name": "x", "models": ["a"] * 101}, 422, "models: List should have at most 100 items"),
        ({"name": "x", "models": ["one"], "heads_of": "y"}, 422, "pairs has no ensemble 'y'"),
        ({"name": "x", "models": ["one"], "heads_of": "heads"}, 422, "not an ensemble of trained"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused_with_a_sentence(
    owner: Program, wanted: dict[str, Any], status: int, sentence: str
) -> None:
    registered("one")
    registered("two")
    registered("raw", status=Checkpoint.Status.FAILED)
    answer = owner.post("/datasets/pairs/ensembles", **wanted)
    assert answer.status == status
    assert sentence in answer.sentence
    assert Ensemble.objects.count() == 1


# --- Runs -----------------------------------------------------------------------------------------


def test_a_run_is_started_with_what_was_asked_for(place: Place, owner: Program) -> None:
    assembled(place)
    wanted = {"ensemble": "both", "mode": "in-sample", "adaptive": True}
    answer = owner.post("/datasets/pairs/runs", **wanted, engine={"pack": False})
    assert answer.status == 202
    assert {name: answer.found[name] for name in wanted} == wanted
    assert answer.found["engine"] == {**EngineOptions().as_dict(), "pack": False}
    run = ScoringRun.objects.get(pk=answer.found["id"])
    assert run.created_by == place.owner
    assert EngineOptions.from_dict(run.engine) == EngineOptions(pack=False)


def test_the_api_knows_every_option_of_the_engine() -> None:
    assert EngineIn().model_dump() == EngineOptions().as_dict()
    turned: dict[str, Any] = {"share_trunks": False, "token_budget": 4096, "attention": "sdpa"}
    assert EngineIn(**turned).options() == EngineOptions(**turned)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({}, "ensemble: Field required."),
        ({"ensemble": "nowhere"}, "pairs has no ensemble 'nowhere'; it has: both, heads."),
        ({"ensemble": "heads"}, "The ensemble 'heads' is not trained yet"),
        (
            {"ensemble": "both", "mode": "both"},
            "mode: Input should be 'out-of-bag' or 'in-sample'.",
        ),
        ({"ensemble": "both", "engine": {"pak": 1}}, "engine.pak: Extra inputs are not permitted."),
        ({"ensemble": "both", "engine": {"attention": "x"}}, "engine.attention: Input should be"),
    ],
)
def test_a_run_that_cannot_be_is_refused_with_a_sentence(
    place: Place, owner: Program, wanted: dict[str, Any], sentence: str
) -> None:
    assembled(place)
    answer = owner.post("/datasets/pairs/runs", **wanted)
    assert answer.status == 422
    assert sentence in answer.sentence
    assert ScoringRun.objects.count() == len(place.runs)


def test_a_run_that_waits_says_so(place: Place, owner: Program) -> None:
    run = started(place)
    found = owner.get(f"/datasets/pairs/runs/{run.pk}").found
    assert found["status"] == "queued"
    assert found["queued_at"]
    assert found["share_done"] == 0
    assert (found["pairs_per_second"], found["remaining_seconds"]) == (None, None)
    assert (found["problem"], found["summary"]) == ("", None)


def test_a_run_says_how_far_it_is(place: Place, owner: Program) -> None:
    """As its page does: at the rate of who is at it now."""
    run, began = started(place), timezone.now()
    ScoringRun.objects.filter(pk=run.pk).update(
        status="running", pairs_total=200, started_at=began, planned_at=began
    )
    took, worker = timedelta(seconds=50), "host/1/1"
    shard: dict[str, Any] = {"pair_ids": [], "pairs_count": 100, "members": []}
    done = {"status": "done", "pairs_done": 100, "worked_by": worker}
    run.shards.create(position=0, started_at=began, finished_at=began + took, **done, **shard)
    held = {"status": "running", "holder": worker, "heartbeat_at": began + took}
    run.shards.create(position=1, lease_expires_at=began + 2 * took, **held, **shard)
    with time_machine.travel(began + took, tick=False):
        found = owner.get(f"/datasets/pairs/runs/{run.pk}").found
    assert (found["pairs"], found["share_done"]) == (200, 0.5)
    assert found["pairs_per_second"] == pytest.approx(2)
    assert found["remaining_seconds"] == pytest.approx(50)


def test_a_run_that_is_done_says_what_it_found(place: Place, owner: Program) -> None:
    found = owner.get(f"/datasets/pairs/runs/{place.runs[0].pk}").found
    assert (found["status"], found["share_done"]) == ("done", 1)
    assert found["summary"]["flags"] == {"flipped": 2, "ambiguous": 0, "clear": 3, "strong": 0}
    assert found["summary"]["labelled"] == 5


def test_a_run_is_paused_resumed_cancelled_and_started_again(place: Place, owner: Program) -> None:
    path = f"/datasets/pairs/runs/{started(place).pk}"
    steps: list[tuple[str, str, bool]] = [
        ("pause", "queued", True),
        ("resume", "queued", False),
        ("cancel", "cancelled", False),
        ("retry", "queued", False),
    ]
    for verb, status, is_paused in steps:
        answer = owner.post(f"{path}/{verb}")
        assert answer.status == 200, verb
        assert (answer.found["status"], answer.found["is_paused"]) == (status, is_paused), verb
        assert answer.found == owner.get(path).found


@pytest.mark.parametrize(
    ("before", "verb", "sentence"),
    [
        (["pause"], "pause", "Only a run that is queued or running, and not paused yet, can be"),
        ([], "resume", "Only a run that is paused can be resumed."),
        (["cancel"], "cancel", "Only a run that is queued or running can be cancelled."),
        (["cancel"], "pause", "Only a run that is queued or running, and not paused yet, can be"),
        ([], "retry", "Only a run that failed, was cancelled or lacks shards can be started"),
    ],
)
def test_what_a_run_is_not_ready_for_is_refused(
    place: Place, owner: Program, before: list[str], verb: str, sentence: str
) -> None:
    path = f"/datasets/pairs/runs/{started(place).pk}"
    for earlier in before:
        assert owner.post(f"{path}/{earlier}").status == 200
    answer = owner.post(f"{path}/{verb}")
    assert answer.status == 422
    assert sentence in answer.sentence


def test_two_runs_are_compared(place: Place, owner: Program) -> None:
    a, b = place.runs
    found = owner.get(f"/datasets/pairs/runs/{a.pk}/compare/{b.pk}").found
    assert (found["run_a"], found["run_b"], found["pairs"]) == (a.pk, b.pk, 5)
    assert found["flag_agreement"] == 1
    assert found["transitions"]["flipped"]["flipped"] == found["flipped"]["both"] == 2


def test_a_run_that_is_not_done_is_not_compared(place: Place, owner: Program) -> None:
    run = started(place)
    answer = owner.get(f"/datasets/pairs/runs/{run.pk}/compare/{place.runs[0].pk}")
    assert answer.status == 422
    assert answer.sentence == f"Run {run.pk} is queued: only runs that are done can be compared."


# --- The whole ------------------------------------------------------------------------------------


def more_datasets(place: Place) -> None:
    for number in range(5):
        factories.dataset(f"more-{number}", owners=[place.owner])


def more_models(place: Place) -> None:
    for number in range(5):
        registered(f"more-{number}")


def more_ensembles(place: Place) -> None:
    ensemble = assembled(place)
    for number in range(5):
        row = Ensemble.objects.create(
            dataset=place.dataset, name=f"more-{number}", members_count=2, recipe=ensemble.recipe
        )
        for member in ensemble.members.all():
            member.pk, member.ensemble = None, row
            member.save()


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/datasets", more_datasets),
        ("/models", more_models),
        ("/datasets/pairs/ensembles", more_ensembles),
    ],
)
def test_a_longer_list_takes_no_more_queries(
    place: Place, path: str, more: Callable[[Place], None]
) -> None:
    registered("one")
    program = Program(tokens.issue(user=place.owner, name="lists"))
    program.get(path)  # notes the use of the token
    with CaptureQueriesContext(connection) as few:
        short = program.get(path).found
    more(place)
    with CaptureQueriesContext(connection) as many:
        longer = program.get(path).found
    assert len(longer) >= len(short) + 5
    assert len(many) <= len(few)


def test_the_description_names_every_field(owner: Program) -> None:
    described = owner.get("/openapi.json").found
    assert set(described["paths"]) == {f"/api{address}" for _, address in addresses()}
    known = {"id", "name", "status", "checks", "created_at", "queued_at", "started_at"}
    for name, schema in described["components"]["schemas"].items():
        if name.endswith("In"):
            for field, facts in schema["properties"].items():
                assert facts.get("description") or field in known, (name, field)


def test_an_address_that_is_not_there_is_answered_as_a_program_reads_it(owner: Program) -> None:
    for path in ("/nothing", "/datasets/pairs/runs/x", "/docs", "/models/"):
        assert owner.get(path).sentence == "The API has no such address."
    assert owner.get("/").status == 404


def test_faults_of_the_machine_are_sentences(
    owner: Program, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: ScoringRun) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "cancel", fail)
    answer = owner.post(f"/datasets/pairs/runs/{started(place).pk}/cancel")
    assert answer.status == 503
    assert answer.sentence.startswith("No space is left on the disk")
