from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AnnotationsConfig(AppConfig):
    name = "annotations"
    verbose_name = "Preference pairs and what is said of them"

    def ready(self) -> None:
        from annotations.guards import set_guards  # noqa: PLC0415 - models are there only now

        post_migrate.connect(set_guards, sender=self)
