from django.urls import path, register_converter
from django.urls.converters import StringConverter

from annotations.views import batches
from scoring.models import ENSEMBLE_NAME
from scoring.views import (
    activity,
    checkpoints,
    comparison,
    consensus,
    datasets,
    ensembles,
    evidence,
    experiments,
    explore,
    iterations,
    policies,
    recipes,
    review,
    rounds,
    similar,
    snapshots,
)

app_name = "scoring"


class EnsembleNameConverter(StringConverter):
    """The names that an ensemble may have."""

    regex = ENSEMBLE_NAME


register_converter(EnsembleNameConverter, "ensemble")

urlpatterns = [
    path("", datasets.index, name="datasets"),
    path("models/", checkpoints.index, name="models"),
    path("models/<ensemble:model>/", checkpoints.detail, name="model"),
    path("models/<ensemble:model>/again/", checkpoints.test_again, name="model-again"),
    path("datasets/<slug:slug>/", datasets.overview, name="overview"),
    path("datasets/<slug:slug>/pairs/", explore.pairs, name="pairs"),
    path("datasets/<slug:slug>/pairs/facets/", explore.facets, name="facets"),
    path("datasets/<slug:slug>/pairs/ids.<str:layout>", explore.ids, name="pair-ids"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/panel/", explore.panel, name="panel"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/", review.pair, name="pair"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/decide/", review.decide, name="decide"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/skip/", review.skip, name="skip"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/ahead/", review.ahead, name="pair-ahead"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/switch/", review.switch, name="review-switch"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/similar/", similar.similar, name="similar"),
    path(
        "datasets/<slug:slug>/pairs/<int:pair_id>/evidence/", review.evidence, name="pair-evidence"
    ),
    path("datasets/<slug:slug>/rounds/new/", rounds.new, name="round-new"),
    path(
        "datasets/<slug:slug>/rounds/<int:round_id>/again/", rounds.fill_again, name="round-again"
    ),
    path("datasets/<slug:slug>/pairs/decide/", batches.bulk, name="bulk"),
    path("datasets/<slug:slug>/batches/<int:batch_id>/", batches.detail, name="batch"),
    path("datasets/<slug:slug>/batches/<int:batch_id>/undo/", batches.undo, name="batch-undo"),
    path("datasets/<slug:slug>/evidence/", evidence.page, name="evidence"),
    *(
        path(f"datasets/<slug:slug>/runs/<int:run_id>/{do}/", view, name=do)
        for do, view in (
            ("sample", evidence.draw),
            ("sample-more", evidence.enlarge),
            ("recalibrate", evidence.recalibrate),
            ("calibrate", evidence.calibrate),
            ("plant", evidence.plant),
        )
    ),
    path("datasets/<slug:slug>/policies/", policies.index, name="policies"),
    path("datasets/<slug:slug>/policies/new/", policies.compose, name="policy-new"),
    path("datasets/<slug:slug>/policies/preview/", policies.preview, name="policy-preview"),
    path("datasets/<slug:slug>/policies/examples/", policies.examples, name="policy-examples"),
    path("datasets/<slug:slug>/policies/<int:policy_id>/", policies.compose, name="policy"),
    path(
        "datasets/<slug:slug>/policies/<int:policy_id>/apply/", policies.apply, name="policy-apply"
    ),
    path("datasets/<slug:slug>/agreement/", consensus.page, name="agreement"),
    path("datasets/<slug:slug>/consensus/", consensus.fragment, name="consensus"),
    path("datasets/<slug:slug>/review/", review.next_pair, name="review"),
    path("datasets/<slug:slug>/review/end/", review.end, name="review-end"),
    path("datasets/<slug:slug>/review/waiting/", review.waiting, name="review-waiting"),
    path("datasets/<slug:slug>/review/undo/", review.undo, name="undo"),
    path("datasets/<slug:slug>/ensembles/", ensembles.index, name="ensembles"),
    path("datasets/<slug:slug>/assemble/", ensembles.assemble, name="assemble"),
    path("datasets/<slug:slug>/ensembles/<ensemble:name>/", ensembles.detail, name="ensemble"),
    path("datasets/<slug:slug>/ensembles/<ensemble:name>/score/", ensembles.score, name="score"),
    path(
        "datasets/<slug:slug>/ensembles/<ensemble:name>/cancel/",
        ensembles.cancel_training,
        name="training-cancel",
    ),
    path(
        "datasets/<slug:slug>/ensembles/<ensemble:name>/retry/",
        ensembles.retry_training,
        name="training-retry",
    ),
    path("datasets/<slug:slug>/runs/<int:run_id>/", ensembles.run, name="run"),
    path("datasets/<slug:slug>/runs/<int:run_id>/cancel/", ensembles.cancel_run, name="run-cancel"),
    path("datasets/<slug:slug>/runs/<int:run_id>/retry/", ensembles.retry_run, name="run-retry"),
    path("datasets/<slug:slug>/runs/<int:run_id>/pause/", ensembles.pause_run, name="run-pause"),
    path("datasets/<slug:slug>/runs/<int:run_id>/resume/", ensembles.resume_run, name="run-resume"),
    path("datasets/<slug:slug>/runs/<int:run_id>/audit/", ensembles.audit, name="audit"),
    path(
        "datasets/<slug:slug>/runs/<int:run_id>/compare/",
        comparison.choose,
        name="run-compare-with",
    ),
    path(
        "datasets/<slug:slug>/runs/<int:run_id>/compare/<int:other_id>/",
        comparison.detail,
        name="run-compare",
    ),
    path("datasets/<slug:slug>/recipes/", recipes.index, name="recipes"),
    path("datasets/<slug:slug>/recipes/new/", recipes.compose, name="recipe-new"),
    path("datasets/<slug:slug>/recipes/check/", recipes.check, name="recipe-check"),
    path("datasets/<slug:slug>/recipes/told/", recipes.told, name="recipe-told"),
    path("datasets/<slug:slug>/recipes/<int:recipe_id>/", recipes.detail, name="recipe"),
    path("datasets/<slug:slug>/responses/", recipes.sampled, name="responses"),
    path("datasets/<slug:slug>/iterations/", iterations.index, name="iterations"),
    path(
        "datasets/<slug:slug>/iterations/<int:iteration_id>/cancel/",
        iterations.cancel,
        name="iteration-cancel",
    ),
    path(
        "datasets/<slug:slug>/iterations/<int:iteration_id>/again/",
        iterations.again,
        name="iteration-again",
    ),
    path("datasets/<slug:slug>/experiments/", experiments.index, name="experiments"),
    path("datasets/<slug:slug>/experiments/new/", experiments.new, name="experiment-new"),
    *(
        path(f"datasets/<slug:slug>/experiments/<int:experiment_id>/{rest}", view, name=name)
        for rest, view, name in (
            ("", experiments.detail, "experiment"),
            ("report.json", experiments.report, "experiment-report"),
            ("cancel/", experiments.cancel, "experiment-cancel"),
            ("retry/", experiments.retry, "experiment-retry"),
        )
    ),
    path("datasets/<slug:slug>/activity/", activity.index, name="activity"),
    path(
        "datasets/<slug:slug>/activity/<int:person_id>/<str:hour>/",
        activity.hour,
        name="activity-hour",
    ),
    path("datasets/<slug:slug>/snapshots/", snapshots.index, name="snapshots"),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/write-card/",
        snapshots.write_card,
        name="snapshot-card",
    ),
]
