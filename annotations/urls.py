from django.urls import path

from annotations.views import (
    comments,
    datasets,
    disputes,
    imports,
    labelling,
    labelling_setup,
    people,
    saved_views,
    snapshots,
    team,
)

app_name = "annotations"

urlpatterns = [
    path("keys/", labelling.own_keys, name="keys"),
    path("datasets/<slug:slug>/label/", labelling.label, name="label"),
    path("datasets/<slug:slug>/label/<int:lease_id>/vote/", labelling.vote, name="vote"),
    path("datasets/<slug:slug>/label/<int:lease_id>/draft/", labelling.draft, name="draft"),
    path(
        "datasets/<slug:slug>/label/<int:lease_id>/differences/",
        labelling.differences,
        name="label-differences",
    ),
    path("datasets/<slug:slug>/label/undo/", labelling.undo, name="label-undo"),
    path("datasets/<slug:slug>/people/", people.index, name="people"),
    path("datasets/<slug:slug>/people/<int:membership_id>/role/", people.role, name="people-role"),
    path(
        "datasets/<slug:slug>/people/<int:membership_id>/deactivate/",
        people.deactivate,
        name="people-deactivate",
    ),
    path(
        "datasets/<slug:slug>/people/<int:membership_id>/reactivate/",
        people.reactivate,
        name="people-reactivate",
    ),
    path(
        "datasets/<slug:slug>/people/<int:membership_id>/link/",
        people.new_link,
        name="people-link",
    ),
    path("datasets/<slug:slug>/views/save/", saved_views.save, name="view-save"),
    path(
        "datasets/<slug:slug>/views/<int:view_id>/rename/", saved_views.rename, name="view-rename"
    ),
    path(
        "datasets/<slug:slug>/views/<int:view_id>/retire/", saved_views.retire, name="view-retire"
    ),
    path("datasets/<slug:slug>/team/", team.index, name="team"),
    path("datasets/<slug:slug>/team/own/", team.own, name="own-figures"),
    path("datasets/<slug:slug>/team/<int:annotator_id>/", team.annotator, name="annotator"),
    path(
        "datasets/<slug:slug>/label/<int:lease_id>/comment/",
        comments.comment_on_lease,
        name="label-comment",
    ),
    path("datasets/<slug:slug>/labelling/", labelling_setup.index, name="labelling"),
    path(
        "datasets/<slug:slug>/labelling/rounds/<int:round_id>/close/",
        labelling_setup.close_round,
        name="round-close",
    ),
    path(
        "datasets/<slug:slug>/labelling/rounds/<int:round_id>/reopen/",
        labelling_setup.reopen_round,
        name="round-reopen",
    ),
    path("datasets/<slug:slug>/labelling/rules/", labelling_setup.rules, name="labelling-rules"),
    path(
        "datasets/<slug:slug>/labelling/comments/",
        labelling_setup.comments,
        name="all-comments",
    ),
    path(
        "datasets/<slug:slug>/labelling/rules/preview/",
        labelling_setup.preview,
        name="rules-preview",
    ),
    path("datasets/<slug:slug>/labelling/gold/", labelling_setup.gold_pairs, name="gold-pairs"),
    path(
        "datasets/<slug:slug>/labelling/gold/<int:gold_id>/retire/",
        labelling_setup.retire_gold,
        name="gold-retire",
    ),
    path(
        "datasets/<slug:slug>/labelling/gold/<int:gold_id>/use-again/",
        labelling_setup.use_gold_again,
        name="gold-use-again",
    ),
    path(
        "datasets/<slug:slug>/labels.<str:layout>",
        labelling_setup.download,
        name="labels-download",
    ),
    path("datasets/<slug:slug>/disputes/", disputes.next_dispute, name="disputes"),
    path("datasets/<slug:slug>/disputes/end/", disputes.end, name="disputes-end"),
    path("datasets/<slug:slug>/disputes/undo/", disputes.undo, name="dispute-undo"),
    path("datasets/<slug:slug>/disputes/<int:pair_id>/", disputes.dispute, name="dispute"),
    path(
        "datasets/<slug:slug>/disputes/<int:pair_id>/resolve/",
        disputes.resolve,
        name="dispute-resolve",
    ),
    path("datasets/<slug:slug>/disputes/<int:pair_id>/skip/", disputes.skip, name="dispute-skip"),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/comments/", comments.comment, name="comments"),
    path(
        "datasets/<slug:slug>/pairs/<int:pair_id>/second-opinion/",
        comments.second_opinion,
        name="second-opinion",
    ),
    path("datasets/<slug:slug>/pairs/<int:pair_id>/gold/", comments.gold, name="gold"),
    path("datasets/new/", datasets.new, name="dataset-new"),
    path("datasets/<slug:slug>/imports/", imports.new, name="import-new"),
    path("datasets/<slug:slug>/imports/<int:import_id>/", imports.detail, name="import"),
    path(
        "datasets/<slug:slug>/imports/<int:import_id>/cancel/", imports.cancel, name="import-cancel"
    ),
    path(
        "datasets/<slug:slug>/imports/<int:import_id>/refused.csv",
        imports.report,
        name="import-report",
    ),
    path("datasets/<slug:slug>/snapshots/<int:number>/", snapshots.detail, name="snapshot"),
    path(
        "datasets/<slug:slug>/snapshots/tags/<str:tag>/", snapshots.tagged, name="snapshot-tagged"
    ),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/tag/", snapshots.add_tag, name="snapshot-tag"
    ),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/tags/<int:tag_id>/remove/",
        snapshots.remove_tag,
        name="snapshot-untag",
    ),
    path("datasets/<slug:slug>/snapshots/<int:number>/card.md", snapshots.card, name="card"),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/compare/",
        snapshots.compare,
        name="snapshot-compare",
    ),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/changes/<int:since>/",
        snapshots.changes_since,
        name="snapshot-changes",
    ),
    path(
        "datasets/<slug:slug>/snapshots/now/changes/<int:since>/",
        snapshots.changes_since,
        name="snapshot-changes-now",
    ),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/restore/",
        snapshots.restore,
        name="snapshot-restore",
    ),
    path("datasets/<slug:slug>/snapshots/<int:number>/export/", snapshots.export, name="export"),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/exports/<int:export_id>/",
        snapshots.download,
        name="download",
    ),
]
