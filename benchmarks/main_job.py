"""The main job from end to end, as a person at the command line meets it: seconds of every step,
memory of every process.

    python -m benchmarks.main_job [--quick] [--json PATH]

First `manage.py demo` in a fresh installation; then, beside one running `manage.py dev`, import,
training, scoring, audit, snapshot and export of the 5,797 pairs of HH-RLHF (--quick: of vicuna80),
and the pages of that dataset.
"""

import time
from statistics import fmean

from benchmarks.measuring import DATA, Browser, Installation, Served, installation
from benchmarks.reporting import Report, Row, options_of, say

SLUG = "main-job"
DEMO_TARGET = 60.0  # seconds
IMPORT_TARGET = 15.0
TRAINING_TARGET = 30.0
SCORING_TARGET = 15.0
WORKER_TARGET = 1500.0  # MB
WEB_TARGET = 200.0
VISITS = 3  # of every page
OWN_IT = (
    "from annotations.models import Dataset, Membership; from curator.models import User; "
    "Membership.objects.create(dataset=Dataset.objects.get(slug={slug!r}), "
    "user=User.objects.get(username={username!r}), role='owner')"
)
SECONDS_OF_IMPORT = (
    "from annotations.models import Import; print(Import.objects.get(pk={pk}).seconds)"
)


def main() -> None:
    options = options_of("main_job", "Seconds and memory of the main job.")
    name = "vicuna80" if options.quick else "hh_rlhf"
    source = DATA / "pairs" / f"{name}.jsonl.gz"
    report = Report("main_job")
    with installation() as curator:
        say("The demo, in a fresh installation:")
        report.rows.append(demo(curator))
        if source.exists():
            with curator.serving() as served:
                say(f"The main job on {name}:")
                report.rows += steps(curator, str(source))
                say("The pages:")
                report.rows += pages(served)
                report.rows += memory(served)
        else:
            report.skip(f"the main job, because {source} is absent (set CURATOR_BENCH_DATA).")
    report.show(options.json)


def demo(curator: Installation) -> Row:
    """Seconds from `manage.py demo` on nothing to flagged pairs."""
    seconds = curator.seconds_until("Ready after", "demo", "--no-serve")
    return _seconds("demo, from an installed environment to ready", seconds, DEMO_TARGET)


def steps(curator: Installation, source: str) -> list[Row]:
    """Every command of the main job, in order, on workers that are up already."""
    imported = curator.run("import_pairs", source, "--dataset", SLUG)
    import_seconds = float(curator.ask(SECONDS_OF_IMPORT.format(pk=imported.found["import"])))
    first = curator.run("train_ensemble", SLUG, "--name", "first")
    again = curator.run("train_ensemble", SLUG, "--name", "again", "--seed", 1)
    scored = curator.run("score", SLUG, "--ensemble", "again")
    audited = curator.run("audit", SLUG, "--run", scored.found["run"], "--plant", 0.1)
    frozen = curator.run("snapshot", SLUG)
    output = curator.home / "export.jsonl"
    exported = curator.run("export", frozen.found["snapshot"], "--output", output)
    return [
        _seconds(
            "import_pairs, the command",
            imported.seconds,
            IMPORT_TARGET,
            f"{imported.found['created']:,} pairs, the import itself {import_seconds:.1f} s",
        ),
        _seconds(
            "train_ensemble, embedding included",
            first.found["seconds"],
            None,
            f"the command {first.seconds:.1f} s",
        ),
        _seconds(
            "train_ensemble, embeddings cached",
            again.found["seconds"],
            TRAINING_TARGET,
            f"{len(again.found['members'])} heads, the command {again.seconds:.1f} s",
        ),
        _seconds(
            "score, embeddings cached",
            scored.found["seconds"],
            SCORING_TARGET,
            f"{scored.found['pairs_per_second']:,.0f} pairs/s, the command {scored.seconds:.1f} s",
        ),
        _seconds("audit --plant 0.1, the command", audited.seconds),
        Row("audit --plant 0.1, AUROC", audited.found["auroc"]),
        _seconds("snapshot, the command", frozen.seconds),
        _seconds("export, the command", exported.seconds, note=f"{exported.found['rows']:,} rows"),
    ]


def pages(served: Served) -> list[Row]:
    """Every main page of the dataset, signed in, several times; the mean and the slowest
    answer."""
    username = "olivia"  # the demo's owner; the dataset came from the command line, so nobody's yet
    served.installation.ask(OWN_IT.format(slug=SLUG, username=username))
    browser = served.sign_in(username)
    at = f"/datasets/{SLUG}/"
    run = served.installation.ask(
        "from scoring.models import ScoringRun; print(ScoringRun.objects.latest('pk').pk)"
    )
    paths = [
        "/",
        at,
        f"{at}pairs/",
        f"{at}pairs/?flag=flipped",
        f"{at}pairs/?text=the",
        f"{at}review/",
        f"{at}ensembles/",
        f"{at}ensembles/again/",
        f"{at}runs/{run}/",
        f"{at}imports/",
        f"{at}snapshots/",
        f"{at}snapshots/1/",
        "/machinery/",
    ]
    best = {path: min(_visit(browser, path) for _ in range(VISITS)) for path in paths}
    slowest = max(best, key=lambda path: best[path])
    return [
        Row(f"mean of {len(paths)} pages, each the best of {VISITS}", fmean(best.values()), "ms"),
        Row("the slowest page", best[slowest], "ms", note=slowest),
    ]


def memory(served: Served) -> list[Row]:
    """Peak memory of workers and web server over everything above."""
    served.memory.look()
    targets = {"scoring worker": WORKER_TARGET, "default worker": WORKER_TARGET, "web": WEB_TARGET}
    return [
        Row(
            f"{kind}, peak memory of {what}",
            peaks[kind] / 1e6 if kind in peaks else None,
            "MB",
            target,
            smaller_is_better=True,
        )
        for kind, target in targets.items()
        for what, peaks in (
            ("all its processes", served.memory.together),
            ("its largest process", served.memory.largest),
        )
    ]


def _visit(browser: Browser, path: str) -> float:
    """Milliseconds until the whole answer is there."""
    started = time.perf_counter()
    browser.get(path)
    return (time.perf_counter() - started) * 1000


def _seconds(case: str, seconds: float, target: float | None = None, note: str = "") -> Row:
    return Row(case, seconds, "s", target, smaller_is_better=True, note=note)


if __name__ == "__main__":
    main()
