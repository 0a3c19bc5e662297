"""Figures of trainings and experiments as Plotly's JSON: curves, accuracies with their intervals,
differences, calibration. Colours are the page's to give, as in `figures`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from scoring.core.experiments import AGREEING, RAW, TRUSTED

Figure = dict[str, Any]
Values = Mapping[str, Any]

STYLES = (
    ("accent", "circle", "solid"),
    ("flipped", "square", "dash"),
    ("strong", "diamond", "dot"),
    ("ambiguous", "triangle-up", "dashdot"),
    ("muted", "cross", "longdash"),
)
SHOWN_LABELS = {
    TRUSTED: ("trusted labels", "accent", "circle"),
    AGREEING: ("where both agree", "strong", "diamond"),
    RAW: ("raw labels", "clear", "square"),
}
OFFSET = 0.2  # between the dots of an arm
LONGEST = 24  # characters of a name beside an axis


@dataclass(frozen=True)
class Curve:
    """The points of a training, as they are kept, under the name of what was trained."""

    name: str
    points: Sequence[Values]


# --- Trainings ------------------------------------------------------------------------------------


def training_curves(curves: Sequence[Curve]) -> dict[str, Figure]:
    """What a training's looks say: losses, accuracies, and margin with reward; a figure is missing
    where nothing of it was measured."""
    drawn = {
        "loss": _quantities(
            curves,
            {"loss": "learnt from", "held_out_loss": "held out"},
            title="mean loss of a pair",
        ),
        "accuracy": _quantities(
            curves,
            {
                "accuracy": "learnt from",
                "held_out_accuracy": "held out, labels as they are",
                "trusted_accuracy": "held out, trusted labels",
            },
            title="accuracy, in percent",
            in_percent=True,
        ),
        "rewards": _quantities(
            curves,
            {"margin": "chosen minus rejected", "reward": "mean reward"},
            title="in the model's own units",
        ),
    }
    return {name: figure for name, figure in drawn.items() if figure["data"]}


def _quantities(
    curves: Sequence[Curve], shown: Mapping[str, str], *, title: str, in_percent: bool = False
) -> Figure:
    """A line for each quantity, and for each of several members one of the same look."""
    data = []
    for (field, words), (colour, symbol, dash) in zip(shown.items(), STYLES, strict=False):
        lines = [curve for curve in curves if any(field in point for point in curve.points)]
        for number, curve in enumerate(lines):
            known = [point for point in curve.points if point.get(field) is not None]
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines" if len(known) > 1 else "markers",
                    "name": words,
                    "legendgroup": field,
                    "showlegend": number == 0,
                    "meta": {"colour": colour, "symbol": symbol},
                    "line": {"width": 2 if len(lines) == 1 else 1.2, "dash": dash},
                    "x": [point["step"] for point in known],
                    "y": [_shown(point[field], in_percent) for point in known],
                    "hovertemplate": f"%{{y}} at step %{{x}}<extra>{_named(curve, words)}</extra>",
                }
            )
    layout = {
        "xaxis": {"title": {"text": "step"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": title}},
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def _named(curve: Curve, words: str) -> str:
    return f"{_short(curve.name)}, {words}" if curve.name else words


def _shown(value: float, in_percent: bool) -> float:
    return round(100 * value, 2) if in_percent else float(f"{value:.4g}")


# --- Experiments ----------------------------------------------------------------------------------


def experiment_figures(report: Values) -> dict[str, Figure]:
    """All charts of an experiment that is done."""
    arms: Sequence[Values] = report["arms"]
    found = {
        "accuracy": accuracy_by_arm(arms),
        "differences": differences_of(report["differences"]),
        "bins": accuracy_by_strength(arms),
        "calibration": calibration(arms),
    }
    return {name: figure for name, figure in found.items() if figure["data"]}


def accuracy_by_arm(arms: Sequence[Values]) -> Figure:
    """Three bars an arm, as the paper draws them, from nought, with 95 % intervals."""
    data = []
    for on, (words, colour, _) in SHOWN_LABELS.items():
        known = [arm for arm in arms if arm["accuracy"].get(on)]
        estimates = [arm["accuracy"][on] for arm in known]
        if not known:
            continue
        data.append(
            {
                "type": "bar",
                "name": words,
                "meta": {"colour": colour},
                "x": [_short(arm["name"]) for arm in known],
                "y": [_percent(each["estimate"]) for each in estimates],
                "error_y": _error(estimates),
                "text": [_interval(each) for each in estimates],
                "textposition": "none",
                "hovertemplate": f"%{{text}} on {words}<extra>%{{x}}</extra>",
            }
        )
    layout = {
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {"type": "category"},
        "yaxis": {"title": {"text": "accuracy, in percent"}, "range": [0, 100]},
    }
    return {"data": data, "layout": layout}


def differences_of(differences: Sequence[Values]) -> Figure:
    """A dot and whiskers for each arm and kind of labels: how much more often it is right than the
    first. Whiskers that leave the line at nought tell a difference."""
    names = list(dict.fromkeys(each["arm"] for each in differences))
    places = {name: len(names) - number for number, name in enumerate(names)}
    data = []
    for number, (on, (words, colour, symbol)) in enumerate(SHOWN_LABELS.items()):
        known = [each for each in differences if each["on"] == on and each["estimate"] is not None]
        if not known:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": words,
                "meta": {"colour": colour, "symbol": symbol},
                "x": [_percent(each["estimate"]) for each in known],
                "y": [places[each["arm"]] + OFFSET * (1 - number) for each in known],
                "error_x": _error(known),
                "text": [
                    f"{_short(each['arm'])}: {_interval(each)} points on {words}" for each in known
                ],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "points more than the first arm"}, "zeroline": False},
        "yaxis": {
            "tickvals": list(places.values()),
            "ticktext": [_short(name) for name in places],
            "range": [0.4, len(names) + 0.6],
            "showgrid": False,
            "zeroline": False,
        },
        "shapes": [
            {
                "type": "line",
                "x0": 0,
                "x1": 0,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"width": 1, "dash": "dot"},
            }
        ],
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def accuracy_by_strength(arms: Sequence[Values]) -> Figure:
    """How often each arm is right on trusted labels, in groups of equal counts by how far all arms
    support the label as imported, the weakest first."""
    data = []
    for arm, style in zip(arms, cycle(STYLES), strict=False):
        bins = [(i, each) for i, each in enumerate(arm["bins"], start=1) if each["accuracy"]]
        if not bins:
            continue
        estimates = [each["accuracy"] for _, each in bins]
        data.append(
            {
                **_line(arm["name"], style),
                "x": [number for number, _ in bins],
                "y": [_percent(each["estimate"]) for each in estimates],
                "error_y": _error(estimates),
                "text": [
                    f"{_interval(each['accuracy'])} of {each['pairs']:,} pairs" for _, each in bins
                ],
                "hovertemplate": "%{text}<extra>%{data.name}</extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "pairs from weakest to strongest label"}, "dtick": 1},
        "yaxis": {"title": {"text": "right, in percent"}, "range": [-4, 104]},
    }
    return {"data": data, "layout": layout}


def calibration(arms: Sequence[Values]) -> Figure:
    """How often an arm is right where it is so sure: on the line, its probabilities mean what they
    say."""
    data = []
    for arm, style in zip(arms, cycle(STYLES), strict=False):
        known = arm["confidences"]
        if not known:
            continue
        data.append(
            {
                **_line(arm["name"], style),
                "x": [_percent(each["sureness"]) for each in known],
                "y": [_percent(each["accuracy"]) for each in known],
                "text": [f"{each['pairs']:,.0f} pairs" for each in known],
                "hovertemplate": "%{y:.0f} % right at %{x:.0f} %, %{text}"
                "<extra>%{data.name}</extra>",
            }
        )
    even = {"type": "line", "x0": 50, "y0": 50, "x1": 100, "y1": 100}
    layout = {
        "xaxis": {"title": {"text": "probability given, in percent"}, "range": [48, 102]},
        "yaxis": {"title": {"text": "right, in percent"}, "range": [-4, 104]},
        "shapes": [{**even, "line": {"width": 1, "dash": "dot"}}],
    }
    return {"data": data, "layout": layout}


def curves_of_arms(trials: Iterable[tuple[str, int, Sequence[Values]]]) -> dict[str, Figure]:
    """How trials went, (arm, seed, points) each: the loss, and the accuracy, on what was held out
    of what an arm learns from. Linear heads are solved at once and have none."""
    rows = [row for row in trials if row[2]]
    styles = dict(zip(dict.fromkeys(arm for arm, _, _ in rows), cycle(STYLES), strict=False))
    drawn = {
        "curve-loss": ("held_out_loss", "loss on what is held out", False),
        "curve-accuracy": ("held_out_accuracy", "accuracy on what is held out, in percent", True),
    }
    figures = {}
    for name, (field, title, in_percent) in drawn.items():
        data = []
        shown: set[str] = set()
        for arm, seed, points in rows:
            known = [point for point in points if point.get(field) is not None]
            if not known:
                continue
            data.append(
                {
                    **_line(arm, styles[arm]),
                    "mode": "lines" if len(known) > 1 else "markers",
                    "legendgroup": arm,
                    "showlegend": arm not in shown,
                    "line": {"width": 1.2, "dash": styles[arm][2]},
                    "x": [point["step"] for point in known],
                    "y": [_shown(point[field], in_percent) for point in known],
                    "hovertemplate": f"%{{y}} at step %{{x}}<extra>%{{data.name}}, seed {seed}"
                    f"</extra>",
                }
            )
            shown.add(arm)
        if data:
            layout = {
                "xaxis": {"title": {"text": "step"}, "rangemode": "tozero"},
                "yaxis": {"title": {"text": title}},
                "hovermode": "closest",
            }
            figures[name] = {"data": data, "layout": layout}
    return figures


def _line(name: str, style: tuple[str, str, str]) -> Figure:
    colour, symbol, dash = style
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": _short(name),
        "meta": {"colour": colour, "symbol": symbol},
        "line": {"width": 2, "dash": dash},
    }


def _error(estimates: Sequence[Values]) -> Figure:
    return {
        "type": "data",
        "symmetric": False,
        "array": [_percent(max(each["high"] - each["estimate"], 0.0)) for each in estimates],
        "arrayminus": [_percent(max(each["estimate"] - each["low"], 0.0)) for each in estimates],
        "thickness": 1.5,
        "width": 4,
    }


def _percent(share: float) -> float:
    return round(100 * share, 2)


def _interval(of: Values) -> str:
    low, high = f"{100 * of['low']:.1f}", f"{100 * of['high']:.1f}"
    span = f"{low} to {high}" if of["low"] < 0 else f"{low}–{high}"
    return f"{100 * of['estimate']:.1f} ({span})".replace("-", "−")


def _short(name: str) -> str:
    """A name that people gave, as an axis or a legend has room for it. Plotly reads <b> and its
    like as marks, so that angle brackets become what looks like them."""
    plain = name.replace("<", "‹").replace(">", "›")
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
