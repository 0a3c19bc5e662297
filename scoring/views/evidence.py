"""The page of evidence: how many labels are wrong and how good the flags are, by a random sample
that people review, by planted flips, and by probabilities fitted to what people decided."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access
from annotations.models import Dataset
from curator import presence
from curator.lib.refusals import Refusal, status_beside_form
from curator.requests import SignedInRequest, wants_fragment
from scoring import access as scoring_access
from scoring import audits_shown, figures, launch, recalibrating, sampling
from scoring.evidence_forms import MoreForm, PlantForm, SampleForm
from scoring.models import Recalibration, ScoringRun
from scoring.sampled import shown

SHOWN_AUDITS = 20
FEWEST_SUGGESTED = 100


@dataclass(frozen=True)
class Refused:
    """A form of the page that was refused: in which part of the page it stands, as it was filled
    in, and why."""

    part: str
    sentence: str
    form: Form | None = None

    def form_in(self, part: str, kind: type[Form]) -> Form | None:
        """The form as it was filled in, where it is of this part and kind."""
        return self.form if self.part == part and type(self.form) is kind else None


SAMPLE, RECALIBRATION, PLANTED = "sample", "recalibration", "planted"
NOTHING = Refused("", "")


@never_cache
@require_GET
def page(request: SignedInRequest, slug: str) -> HttpResponse:
    """The evidence on the current run, or on the one that the address names."""
    dataset = access.dataset_to_curate(request.user, slug)
    current = ScoringRun.objects.current(dataset)
    number = request.GET.get("run", "")
    run = current
    if _is_id(number):
        run = scoring_access.run_to_watch(request.user, slug, int(number))
    return _page(request, dataset, run)


def _page(
    request: SignedInRequest,
    dataset: Dataset,
    run: ScoringRun | None,
    *,
    refused: Refused = NOTHING,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "dataset": dataset,
        "run": run,
        "current": ScoringRun.objects.current(dataset),
        "refused": refused,
    }
    if run is None or run.status != ScoringRun.Status.DONE:
        return render(request, "scoring/evidence.html", context, status=status)
    use = recalibrating.latest_use(run)
    audits = list(run.audits.select_related("created_by")[:SHOWN_AUDITS])
    context |= {
        "use": use,
        "way_out": recalibrating.way_out(use) if use else "",
        "audits": audits,
        "scorer_alive": bool(presence.alive("scoring")),
        "worker_alive": bool(presence.alive("default")),
        "page_url": _address(run),
    }
    if wants_fragment(request):
        if all(row.is_over for row in (*audits, *([use] if use else []))):
            return HttpResponseClientRefresh()
        return render(request, "scoring/_evidence_work.html", context)
    is_half = bool(context["way_out"])
    context |= _of_sample(run, refused, is_half=is_half) | _of_audits(run, audits, refused)
    context["figures"] = context.pop("reliability_figure") | context.pop("audit_figure")
    return render(request, "scoring/evidence.html", context, status=status)


def _of_sample(run: ScoringRun, refused: Refused, *, is_half: bool) -> dict[str, Any]:
    """What the run's sample says, and what was fitted to it."""
    sample = sampling.sample_of(run)
    if sample is None or not sample.strata:
        first = sampling.needed_at_first(run)
        suggested = min(max(first.get(0.05, 0), FEWEST_SUGGESTED), sampling.labels_of(run))
        fresh = SampleForm(initial={"size": suggested})
        return {
            "labels": sampling.labels_of(run),
            "first": first,
            "sample_form": refused.form_in(SAMPLE, SampleForm) or fresh,
            "reliability_figure": {},
        }
    found = sampling.found(sample)
    fitted = list(sample.recalibrations.select_related("created_by"))
    latest = fitted[0] if fitted else None
    return {
        "sample": sample,
        "found": found,
        "shown": shown(found),
        "lacks": recalibrating.lacks(found),
        "more_form": refused.form_in(SAMPLE, MoreForm) or MoreForm(),
        "fitted": fitted,
        "latest": latest,
        "in_use": None if is_half else recalibrating.in_use(run),
        "is_own": not run.dataset.calibration and not is_half,
        "is_half": is_half,
        "reliability_figure": {"reliability": figures.reliability(latest)} if latest else {},
    }


def _of_audits(run: ScoringRun, audits: list[Any], refused: Refused) -> dict[str, Any]:
    done = [audits_shown.told(audit) for audit in audits if audit.result.get("curves")]
    return {
        "audit": done[0] if done else None,
        "can_plant": not run.ensemble.is_assembled,
        "plant_form": refused.form_in(PLANTED, PlantForm) or PlantForm(),
        "audit_figure": {"audit": figures.review_curves(done[0].row)} if done else {},
    }


# What is asked for on the page


@require_POST
def draw(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    form = SampleForm(request.POST)

    def do() -> None:
        _check(form, "Say how many labels to draw: a whole number, of one or more.")
        size, seed = form.cleaned_data["size"], form.cleaned_data["seed"] or 0
        sampling.draw(run, size, by=request.user, seed=seed)

    return _done(request, run, SAMPLE, do, form)


@require_POST
def enlarge(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    form = MoreForm(request.POST)

    def do() -> None:
        _check(form, "Say how many more labels to draw: a whole number, of one or more.")
        sampling.enlarge(_sample_of(run), form.cleaned_data["more"], by=request.user)

    return _done(request, run, SAMPLE, do, form)


@require_POST
def recalibrate(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    """Fit probabilities to the verdicts so far; nothing uses them yet."""
    run = scoring_access.run_to_watch(request.user, slug, run_id)

    def do() -> None:
        recalibrating.recalibrate(_sample_of(run), by=request.user)

    return _done(request, run, RECALIBRATION, do)


@require_POST
def calibrate(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    """Let the pairs carry a recalibration's probabilities, or the run's own again."""
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    number = request.POST.get("recalibration", "")
    chosen = None
    if number:
        fitted = Recalibration.objects.filter(sample__run=run).select_related("sample")
        chosen = get_object_or_404(fitted, pk=int(number) if _is_id(number) else 0)
    return _done(
        request, run, RECALIBRATION, lambda: recalibrating.use(run, chosen, by=request.user)
    )


@require_POST
def plant(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    """Audit the run by planted flips."""
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    form = PlantForm(request.POST)

    def do() -> None:
        _check(form, "Plant between 1 % and 49 % of the labels, with a seed of 0 or more.")
        share, seed = form.cleaned_data["share"] / 100, form.cleaned_data["seed"]
        launch.start_audit(run=run, by=request.user, share=share, seed=seed)

    return _done(request, run, PLANTED, do, form)


def _done(
    request: SignedInRequest,
    run: ScoringRun,
    part: str,
    do: Callable[[], Any],
    form: Form | None = None,
) -> HttpResponse:
    """Back to the part of the page once it is done; where it is refused, the page as it is, with
    the sentence beside the form and in it what was typed."""
    try:
        do()
    except Refusal as refusal:
        refused, status = Refused(part, str(refusal), form), status_beside_form(refusal)
        return _page(request, run.dataset, run, refused=refused, status=status)
    return redirect(f"{_address(run)}#{part}")


def _check(form: Form, sentence: str) -> None:
    """Raises Refusal with the sentence where the form cannot be read."""
    if not form.is_valid():
        raise Refusal(sentence)


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) < 19


def _sample_of(run: ScoringRun) -> Any:
    sample = sampling.sample_of(run)
    if sample is None:
        raise Refusal(f"No sample of run {run.pk} was drawn yet: draw one first.")
    return sample


def _address(run: ScoringRun) -> str:
    """Of the page about this run."""
    address = reverse("scoring:evidence", args=[run.dataset.slug])
    current = ScoringRun.objects.current(run.dataset)
    return address if current is not None and current.pk == run.pk else f"{address}?run={run.pk}"
