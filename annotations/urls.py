from django.urls import path

from annotations.views import datasets, imports, snapshots

app_name = "annotations"

urlpatterns = [
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
    path("datasets/<slug:slug>/snapshots/<int:number>/export/", snapshots.export, name="export"),
    path(
        "datasets/<slug:slug>/snapshots/<int:number>/exports/<int:export_id>/",
        snapshots.download,
        name="download",
    ),
]
