"""Figures as Plotly's JSON: plain dictionaries that the page hands to plotly.js. Colours are the
page's to give.

Flags are named by `meta.flag`; the script that draws takes each flag's colour from the style sheet,
so that charts follow the light and the dark theme and the palette stands in one place.
"""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from scoring import leanings, overviews
from scoring.comparing import ComparedRuns
from scoring.models import Audit, Flag, Recalibration, ScoringRun
from scoring.overviews import SecondSource

Figure = dict[str, Any]

MOST_POINTS = 3000


def strength_histogram(run: ScoringRun) -> Figure:
    """Pairs by preference strength, stacked by flag; a bar, or a range drawn over several, leads to
    its pairs. The bars at both ends hold all that lies beyond them too, so their outer bounds are
    open."""
    histogram = run.summary["histogram"]
    edges = histogram["edges"]
    rows = overviews.bars_of(run)
    bars = [
        {
            "type": "bar",
            "name": flag.label,
            "meta": {"flag": flag.value},
            "x": [(low + high) / 2 for low, high in pairwise(edges)],
            "y": histogram["by_flag"][flag.value],
            "customdata": [row.pairs for row in rows],
            "text": [row.words for row in rows],
            "textposition": "none",
            "width": edges[1] - edges[0],
            "hovertemplate": "%{y} " + flag.label + "<br>strength %{text}<extra></extra>",
        }
        for flag in Flag
    ]
    layout = {
        "barmode": "stack",
        "bargap": 0.04,
        "dragmode": "select",
        "selectdirection": "h",
        "xaxis": {
            "title": {"text": "preference strength (negative: the models contradict the label)"},
            "range": [edges[0], edges[-1]],
        },
        "yaxis": {"title": {"text": "labels"}},
        "shapes": [_line_at_zero()],
        "meta": {
            "selects": "bars",
            "edges": edges,
            "counts": [row.count for row in rows],
            "only": overviews.query_for(overviews.labels_only(run)),
        },
    }
    return {"data": bars, "layout": layout}


def strength_spread_map(run: ScoringRun) -> Figure:
    """Mean × spread of the margins: a point a pair, or where they are many how many fall into each
    cell. A point leads to its pair, a cell or a box that is drawn to the pairs inside."""
    summary = run.summary
    layout = {
        "dragmode": "select",
        "xaxis": {"title": {"text": "preference strength (mean margin)"}, "zeroline": True},
        "yaxis": {"title": {"text": "spread between the models"}, "rangemode": "tozero"},
        "hovermode": "closest",
        "meta": {"selects": "box", "only": overviews.query_for(overviews.labels_only(run))},
    }
    if "density" in summary:
        return {"data": [_cells(run)], "layout": {**layout, "barmode": "overlay", "bargap": 0}}
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
    return {"data": data, "layout": layout}


def _cells(run: ScoringRun) -> Figure:
    """The cells of the density map as bars that stand where they belong: the basic bundle of
    plotly.js has no heat map. Their colour is the logarithm of the count, from 0 to 1; those at
    the `edges` hold what lies beyond, too."""
    density = run.summary["density"]
    x, y = density["strength_edges"], density["spread_edges"]
    counts = Counter[int]()
    flipped = dict(density["counts"].get(Flag.FLIPPED, []))
    for cells in density["counts"].values():
        for cell, count in cells:
            counts[cell] += count
    places = sorted(counts)
    most = math.log1p(max(counts.values()))
    columns, width, height = len(x) - 1, x[1] - x[0], y[1] - y[0]
    return {
        "type": "bar",
        "name": "labels",
        "showlegend": False,
        "meta": {"heat": True, "edges": [x[0], x[-1], y[-1]], "cell": [width, height]},
        "x": [x[cell % columns] + width / 2 for cell in places],
        "base": [y[cell // columns] for cell in places],
        "y": [height] * len(places),
        "width": width,
        "marker": {"color": [round(math.log1p(counts[cell]) / most, 3) for cell in places]},
        "text": [f"{counts[cell]:,} labels, {flipped.get(cell, 0):,} flipped" for cell in places],
        "textposition": "none",
        "hovertemplate": "strength %{x:.2f}, spread %{base:.2f}<br>%{text}<extra></extra>",
    }


def spread_profile(run: ScoringRun) -> Figure:
    """Spread over twenty groups of equal counts by strength: flat in the middle and rising at both
    ends where the ensemble knows something (arXiv 2401.06080, figure 2)."""
    groups = run.summary["profile"]
    step = 100 / len(groups)
    x = [round((number + 0.5) * step, 2) for number in range(len(groups))]
    words = [overviews.range_words(group["lowest"], group["highest"]) for group in groups]
    queries = [overviews.strength_query(run, group["lowest"], group["highest"]) for group in groups]
    quartile = {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "hoverinfo": "skip",
        "line": {"width": 0},
        "meta": {"band": "accent"},
        "showlegend": False,
    }
    low = {**quartile, "y": [group["spread_low"] for group in groups]}
    high = {
        **quartile,
        "y": [group["spread_high"] for group in groups],
        "fill": "tonexty",
        "name": "middle half",
        "showlegend": True,
    }
    mean = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "mean",
        "x": x,
        "y": [group["spread"] for group in groups],
        "meta": {"colour": "accent"},
        "text": words,
        "customdata": queries,
        "hovertemplate": "spread %{y:.2f}<br>strength %{text}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "labels from weakest to strongest, in percent"}},
        "yaxis": {"title": {"text": "spread between the models"}, "rangemode": "tozero"},
    }
    return {"data": [low, high, mean], "layout": layout}


def agreement_by_strength(sources: list[SecondSource]) -> Figure:
    """How often each second source agrees with the labels, over bins of strength, with 95 %
    intervals."""
    styles = [("accent", "circle"), ("flipped", "square")]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": source.name,
            "meta": {"colour": colour, "symbol": symbol},
            "x": [round(50 * (each.low + each.high), 2) for each in source.bins],
            "y": [round(100 * each.share.estimate, 1) for each in source.bins],
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [_points(each.share.high - each.share.estimate) for each in source.bins],
                "arrayminus": [
                    _points(each.share.estimate - each.share.low) for each in source.bins
                ],
                "thickness": 1,
                "width": 3,
            },
            "text": [f"{each.agreeing:,} of {each.compared:,}" for each in source.bins],
            "customdata": [each.pairs for each in source.bins],
            "hovertemplate": "%{y:.0f} %, %{text}<extra>" + source.name + "</extra>",
        }
        for source, (colour, symbol) in zip(sources, styles, strict=False)
    ]
    even = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 50, "y1": 50}
    layout = {
        "xaxis": {
            "title": {"text": "labels from weakest to strongest, in percent"},
            "range": [-2, 102],
        },
        "yaxis": {"title": {"text": "agree with the label, in percent"}, "range": [-4, 104]},
        "shapes": [{**even, "line": {"width": 1, "dash": "dot"}}],
    }
    return {"data": data, "layout": layout}


def _points(share: float) -> float:
    return round(100 * max(share, 0.0), 1)


def strength_by_length(run: ScoringRun) -> Figure:
    """Mean strength over groups of labels by how much longer the preferred response is."""
    groups = run.summary["length"]["groups"]
    middles = [group["strength"]["estimate"] for group in groups]
    words = [leanings.longer_words(group["shortest"], group["longest"]) for group in groups]
    mean = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "mean strength",
        "showlegend": False,
        "meta": {"colour": "accent"},
        "x": list(range(1, len(groups) + 1)),
        "y": middles,
        "error_y": {
            "type": "data",
            "array": [
                group["strength"]["high"] - group["strength"]["estimate"] for group in groups
            ],
            "thickness": 1,
            "width": 3,
        },
        "text": words,
        "customdata": [leanings.length_query(group) for group in groups],
        "hovertemplate": "strength %{y:.2f}<br>%{text}<extra></extra>",
    }
    layout = {
        "xaxis": {
            "title": {"text": "preferred response: from shorter to longer"},
            "tickvals": [1, len(groups)],
            "ticktext": ["shorter", "longer"],
        },
        "yaxis": {"title": {"text": "mean strength"}, "zeroline": True},
    }
    return {"data": [mean], "layout": layout}


def _line_at_zero() -> Figure:
    return {
        "type": "line",
        "x0": 0,
        "x1": 0,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"width": 1, "dash": "dot"},
    }


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


def review_curves(audit: Audit) -> Figure:
    """The share of the planted flips found by the share of labels reviewed: in order of strength,
    by cleanlab on the same scores, and in no order."""
    shown = [
        ("strength", "weakest strength first", "accent", "solid"),
        ("cleanlab", "cleanlab on the same scores", "ambiguous", "dash"),
        ("random", "at random", "muted", "dot"),
    ]
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": words,
            "meta": {"colour": colour},
            "line": {"width": 2, "dash": dash},
            "x": [round(100 * point["reviewed"], 1) for point in audit.result["curves"][name]],
            "y": [round(100 * point["found"], 1) for point in audit.result["curves"][name]],
            "hovertemplate": "%{x:.0f} % reviewed, %{y:.0f} % found<extra>" + words + "</extra>",
        }
        for name, words, colour, dash in shown
    ]
    layout = {
        "xaxis": {"title": {"text": "labels reviewed, in percent"}, "range": [0, 100]},
        "yaxis": {"title": {"text": "planted flips found, in percent"}, "range": [0, 102]},
    }
    return {"data": data, "layout": layout}


def reliability(fitted: Recalibration) -> Figure:
    """The share of labels that people call right by the probability that they were given, before
    and after recalibration, with 95 % intervals."""
    styles = [("before", "muted", "square", "dot"), ("after", "accent", "circle", "solid")]
    data = [
        _reliability(name, fitted.quality[name]["reliability"], colour, symbol, dash)
        for name, colour, symbol, dash in styles
    ]
    even = {"type": "line", "x0": 0, "y0": 0, "x1": 100, "y1": 100}
    layout = {
        "xaxis": {"title": {"text": "probability given, in percent"}, "range": [-2, 102]},
        "yaxis": {"title": {"text": "right, in percent"}, "range": [-4, 104]},
        "shapes": [{**even, "line": {"width": 1, "dash": "dot"}}],
    }
    return {"data": data, "layout": layout}


def _reliability(
    name: str, bins: list[dict[str, Any]], colour: str, symbol: str, dash: str
) -> Figure:
    rights = [each["right"] for each in bins]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "meta": {"colour": colour, "symbol": symbol},
        "line": {"width": 2, "dash": dash},
        "x": [round(100 * each["predicted"], 1) for each in bins],
        "y": [round(100 * right["estimate"], 1) for right in rights],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [_points(right["high"] - right["estimate"]) for right in rights],
            "arrayminus": [_points(right["estimate"] - right["low"]) for right in rights],
            "thickness": 1,
            "width": 3,
        },
        "text": [f"{each['count']:,} verdicts" for each in bins],
        "hovertemplate": "%{y:.0f} % right at %{x:.0f} %, %{text}<extra>" + name + "</extra>",
    }
