"""The page of evidence: how many labels are wrong and how good the flags are, by a random sample
that people review, by planted flips, and by probabilities fitted to what people decided."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from annotations import access
from curator import presence
from curator.lib.refusals import Refusal
from curator.requests import SignedInRequest, wants_fragment
from scoring import access as scoring_access
from scoring import audits_shown, figures, launch, recalibrating, sampling
from scoring.evidence_forms import MoreForm, PlantForm, SampleForm
from scoring.models import Recalibration, ScoringRun
from scoring.sampled import shown

SHOWN_AUDITS = 20
FEWEST_SUGGESTED = 100


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
    context: dict[str, Any] = {"dataset": dataset, "run": run, "current": current}
    if run is None or run.status != ScoringRun.Status.DONE:
        return render(request, "scoring/evidence.html", context)
    use = recalibrating.latest_use(run)
    audits = list(run.audits.select_related("created_by")[:SHOWN_AUDITS])
    context |= {
        "use": use,
        "audits": audits,
        "scorer_alive": bool(presence.alive("scoring")),
        "worker_alive": bool(presence.alive("default")),
    }
    if wants_fragment(request):
        if all(row.is_over for row in (*audits, *([use] if use else []))):
            return HttpResponseClientRefresh()
        return render(request, "scoring/_evidence_work.html", context)
    context |= _of_sample(run) | _of_audits(run, audits)
    context["figures"] = context.pop("reliability_figure") | context.pop("audit_figure")
    return render(request, "scoring/evidence.html", context)


def _of_sample(run: ScoringRun) -> dict[str, Any]:
    """What the run's sample says, and what was fitted to it."""
    sample = sampling.sample_of(run)
    if sample is None or not sample.strata:
        first = sampling.needed_at_first(run)
        suggested = min(max(first.get(0.05, 0), FEWEST_SUGGESTED), sampling.labels_of(run))
        return {
            "labels": sampling.labels_of(run),
            "first": first,
            "sample_form": SampleForm(initial={"size": suggested}),
            "reliability_figure": {},
        }
    found = sampling.found(sample)
    fitted = list(sample.recalibrations.select_related("created_by"))
    latest = fitted[0] if fitted else None
    return {
        "sample": sample,
        "found": found,
        "shown": shown(found),
        "more_form": MoreForm(),
        "fitted": fitted,
        "latest": latest,
        "in_use": recalibrating.in_use(run),
        "is_own": not run.dataset.calibration,
        "reliability_figure": {"reliability": figures.reliability(latest)} if latest else {},
    }


def _of_audits(run: ScoringRun, audits: list[Any]) -> dict[str, Any]:
    done = [audits_shown.told(audit) for audit in audits if audit.result.get("curves")]
    return {
        "audit": done[0] if done else None,
        "can_plant": not run.ensemble.is_assembled,
        "plant_form": PlantForm(),
        "audit_figure": {"audit": figures.review_curves(done[0].row)} if done else {},
    }


@require_POST
def draw(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    form = SampleForm(request.POST)
    if not form.is_valid():
        raise Refusal("Say how many labels to draw: a whole number, of one or more.")
    size, seed = form.cleaned_data["size"], form.cleaned_data["seed"] or 0
    sampling.draw(run, size, by=request.user, seed=seed)
    return _back(run)


@require_POST
def enlarge(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    form = MoreForm(request.POST)
    if not form.is_valid():
        raise Refusal("Say how many more labels to draw: a whole number, of one or more.")
    sampling.enlarge(_sample_of(run), form.cleaned_data["more"], by=request.user)
    return _back(run)


@require_POST
def recalibrate(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    """Fit probabilities to the verdicts so far; nothing uses them yet."""
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    recalibrating.recalibrate(_sample_of(run), by=request.user)
    return _back(run, "#recalibration")


@require_POST
def calibrate(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    """Let the pairs carry a recalibration's probabilities, or the run's own again."""
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    number = request.POST.get("recalibration", "")
    chosen = None
    if number:
        fitted = Recalibration.objects.filter(sample__run=run).select_related("sample")
        chosen = get_object_or_404(fitted, pk=int(number) if _is_id(number) else 0)
    recalibrating.use(run, chosen, by=request.user)
    return _back(run, "#recalibration")


@require_POST
def plant(request: SignedInRequest, slug: str, run_id: int) -> HttpResponse:
    """Audit the run by planted flips."""
    run = scoring_access.run_to_watch(request.user, slug, run_id)
    form = PlantForm(request.POST)
    if not form.is_valid():
        raise Refusal("Plant between 1 % and 49 % of the labels, with a seed of 0 or more.")
    share, seed = form.cleaned_data["share"] / 100, form.cleaned_data["seed"]
    launch.start_audit(run=run, by=request.user, share=share, seed=seed)
    return _back(run, "#planted")


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) < 19


def _sample_of(run: ScoringRun) -> Any:
    sample = sampling.sample_of(run)
    if sample is None:
        raise Refusal(f"No sample of run {run.pk} was drawn yet: draw one first.")
    return sample


def _back(run: ScoringRun, part: str = "") -> HttpResponse:
    address = reverse("scoring:evidence", args=[run.dataset.slug])
    current = ScoringRun.objects.current(run.dataset)
    which = "" if current is not None and current.pk == run.pk else f"?run={run.pk}"
    return redirect(f"{address}{which}{part}")
