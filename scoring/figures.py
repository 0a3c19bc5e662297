"""Figures as Plotly's JSON: plain dictionaries that the page hands to plotly.js. Colours are the
page's to give.

Flags are named by `meta.flag`; the script that draws takes each flag's colour from the style sheet,
so that charts follow the light and the dark theme and the palette stands in one place.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from scoring.comparing import ComparedRuns
from scoring.models import Flag

Figure = dict[str, Any]

MOST_POINTS = 3000


def strength_histogram(summary: dict[str, Any]) -> Figure:
    """Pairs by preference strength, stacked by flag; a bar leads to its pairs. The bars at both
    ends hold all that lies beyond them too, so their outer bounds are open (None)."""
    histogram = summary["histogram"]
    edges = histogram["edges"]
    centres = [(low + high) / 2 for low, high in pairwise(edges)]
    bounds: list[list[float | None]] = [[low, high] for low, high in pairwise(edges)]
    bounds[0][0] = bounds[-1][1] = None
    ranges = [
        f"below {edges[1]:.2f}",
        *(f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges[1:-1])),
        f"above {edges[-2]:.2f}",
    ]
    bars = [
        {
            "type": "bar",
            "name": flag.label,
            "meta": {"flag": flag.value},
            "x": centres,
            "y": histogram["by_flag"][flag.value],
            "customdata": bounds,
            "text": ranges,
            "textposition": "none",
            "width": edges[1] - edges[0],
            "hovertemplate": "%{y} " + flag.label + "<br>strength %{text}<extra></extra>",
        }
        for flag in Flag
    ]
    zero = {
        "type": "line",
        "x0": 0,
        "x1": 0,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"width": 1, "dash": "dot"},
    }
    layout = {
        "barmode": "stack",
        "bargap": 0.04,
        "xaxis": {
            "title": {"text": "preference strength (negative: the models contradict the label)"}
        },
        "yaxis": {"title": {"text": "pairs"}},
        "shapes": [zero],
    }
    return {"data": bars, "layout": layout}


def strength_spread_map(summary: dict[str, Any]) -> Figure:
    """Mean × spread of the margins, a point a pair; a point leads to its pair."""
    points = summary["map"]
    index = {
        flag.value: [i for i, name in enumerate(points["flag"]) if name == flag.value]
        for flag in Flag
    }
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": flag.label,
            "meta": {"flag": flag.value},
            "x": [points["strength"][i] for i in index[flag.value]],
            "y": [points["spread"][i] for i in index[flag.value]],
            "customdata": [points["pair"][i] for i in index[flag.value]],
            "hovertemplate": "strength %{x:.2f}, spread %{y:.2f}<extra>" + flag.label + "</extra>",
        }
        for flag in Flag
    ]
    layout = {
        "xaxis": {"title": {"text": "preference strength (mean margin)"}, "zeroline": True},
        "yaxis": {"title": {"text": "spread between the models"}, "rangemode": "tozero"},
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}


def percentile_map(compared: ComparedRuns) -> Figure:
    """Percentile of strength in one run × in the other, a point a pair and coloured by its flag in
    the other; of many pairs an even sample. A point leads to its pair."""
    count = compared.figures.pairs
    index = np.arange(count)
    if count > MOST_POINTS:
        index = np.linspace(0, count - 1, MOST_POINTS).astype(np.intp)
    pairs, flags = compared.scores_b["pair"][index], compared.scores_b["flag"][index]
    x = np.round(100 * compared.percentiles_a[index], 1)
    y = np.round(100 * compared.percentiles_b[index], 1)
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": flag.label,
            "meta": {"flag": flag.value},
            "x": x[flags == flag.value].tolist(),
            "y": y[flags == flag.value].tolist(),
            "customdata": pairs[flags == flag.value].tolist(),
            "hovertemplate": "%{x:.0f} %, then %{y:.0f} %<extra>" + flag.label + "</extra>",
        }
        for flag in Flag
    ]
    same = {"type": "line", "x0": 0, "y0": 0, "x1": 100, "y1": 100, "line": {"width": 1}}
    layout = {
        "xaxis": {"title": {"text": f"percentile in run {compared.a.pk}"}, "range": [-2, 102]},
        "yaxis": {"title": {"text": f"percentile in run {compared.b.pk}"}, "range": [-2, 102]},
        "shapes": [same],
        "hovermode": "closest",
    }
    return {"data": data, "layout": layout}
