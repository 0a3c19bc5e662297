// Draws the figures that the page carries as JSON. Colours come from the style sheet, so both themes and the flags'
// palette stand in one place: `meta` of a trace names its flag, its colour, its band or that it is a heat map.
// `layout.meta.selects` says what dragging over a chart chooses: whole bars, or a box of strength and spread.

const drawn = new Map();
const symbols = { flipped: "diamond", ambiguous: "square", clear: "circle", strong: "triangle-up" };
const dragging = !matchMedia("(pointer: coarse)").matches; // a finger that drags scrolls the page

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function coloured(trace) {
  const meta = trace.meta ?? {};
  if (meta.heat) {
    const scale = [[0, colour("accent-soft")], [1, colour("accent")]];
    return { ...trace, marker: { ...trace.marker, colorscale: scale, cmin: 0, cmax: 1, line: { width: 0 } } };
  }
  if (meta.band) return { ...trace, fillcolor: colour(`${meta.band}-soft`) };
  const fill = colour(meta.flag ?? meta.colour);
  const errors = {};
  for (const name of ["error_x", "error_y"]) {
    if (trace[name]) errors[name] = { ...trace[name], color: trace.type === "bar" ? colour("text") : fill };
  }
  if (trace.type === "bar") return { ...trace, marker: { color: fill }, ...errors };
  if (meta.flag) return { ...trace, marker: { color: fill, size: 5, opacity: 0.65, symbol: symbols[meta.flag] } };
  const marker = { color: fill, size: 7, symbol: meta.symbol ?? "circle" };
  return { ...trace, marker, line: { color: fill, width: 2, ...trace.line }, ...errors };
}

function themed(figure) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line-strong"), linecolor: colour("line-strong") };
  const layout = structuredClone(figure.layout);
  for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, automargin: true, ...layout[name] };
  for (const shape of layout.shapes ?? []) shape.line.color = colour("line-strong");
  if (layout.dragmode && !dragging) layout.dragmode = false;
  const border = { line: { color: colour("accent"), width: 1, dash: "solid" } };
  return {
    data: figure.data.map(coloured),
    layout: {
      ...layout,
      dragmode: layout.dragmode ?? false,
      newselection: border,
      activeselection: { fillcolor: colour("accent"), opacity: 0.1 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
      hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line-strong"), font: { color: colour("text") } },
      legend: { orientation: "h", yanchor: "bottom", y: 1.02, x: 0 },
      margin: { l: 48, r: 8, t: 8, b: 40 },
    },
  };
}

// Where a choice leads

function go(place, bounds, only) {
  const query = new URLSearchParams(only);
  for (const [name, value] of Object.entries(bounds)) if (value !== null) query.set(name, value);
  location.href = `${place.dataset.opens}?${query}`;
}

function open(place, point, layout) {
  const custom = point.customdata;
  if (typeof custom === "string") location.href = `${place.dataset.opens}?${custom}`;
  else if (typeof custom === "number") location.href = `${place.dataset.opens}${custom}/`;
  else if (point.data.meta?.heat) go(place, cell(point), layout.meta.only);
}

// The bounds of a cell of the map; at the edges it holds what lies beyond, and is open.
function cell(point) {
  const { edges: [left, right, top], cell: [width, height] } = point.data.meta;
  const low = point.x - width / 2;
  const bottom = point.data.base[point.pointNumber];
  return {
    strength_from: low <= left + width / 2 ? null : rounded(low),
    strength_to: low + width >= right - width / 2 ? null : rounded(low + width),
    spread_from: rounded(bottom),
    spread_to: bottom + height >= top - height / 2 ? null : rounded(bottom + height),
  };
}

function rounded(value) {
  return Number(value.toPrecision(6));
}

function shown(value) {
  return value.toFixed(2).replace("-", "−");
}

// Selecting: what is being chosen is said while it is dragged over, and opened when it is let go.

const selections = {
  bars(range, { edges, counts }) {
    const [from, to] = [...range.x].sort((a, b) => a - b);
    const inside = counts.map((_, bar) => bar).filter((bar) => {
      const middle = (edges[bar] + edges[bar + 1]) / 2;
      return middle >= from && middle <= to;
    });
    if (!inside.length) return null;
    const [first, last] = [inside[0], inside.at(-1)];
    const count = inside.reduce((sum, bar) => sum + counts[bar], 0);
    const bounds = { strength_from: first === 0 ? null : edges[first], strength_to: last === counts.length - 1 ? null : edges[last + 1] };
    return { bounds, words: `${between("Strength", bounds.strength_from, bounds.strength_to)}: ${count.toLocaleString("en")} labels` };
  },
  box(range) {
    const [from, to] = [...range.x].sort((a, b) => a - b).map(rounded);
    const [low, high] = [...range.y].sort((a, b) => a - b).map(rounded);
    const bounds = { strength_from: from, strength_to: to, spread_from: Math.max(low, 0), spread_to: Math.max(high, 0) };
    return { bounds, words: `${between("Strength", from, to)}, ${between("spread", bounds.spread_from, bounds.spread_to)}` };
  },
};

function between(name, low, high) {
  if (low === null && high === null) return `${name} of any size`;
  if (low === null) return `${name} up to ${shown(high)}`;
  return high === null ? `${name} from ${shown(low)}` : `${name} from ${shown(low)} to ${shown(high)}`;
}

function announce(place, words) {
  const told = place.closest("figure")?.querySelector(".selection");
  if (told && told.textContent !== words) told.textContent = words;
}

function listen(place, layout) {
  place.on("plotly_click", (event) => open(place, event.points[0], layout));
  const select = selections[layout.meta?.selects];
  if (!select) return;
  const chosen = (event) => (event?.range ? select(event.range, layout.meta) : null);
  place.on("plotly_selecting", (event) => announce(place, chosen(event)?.words ?? ""));
  place.on("plotly_selected", (event) => {
    const found = chosen(event);
    if (!found) return;
    announce(place, `${found.words}. Opening the list of pairs.`);
    go(place, found.bounds, layout.meta.only);
  });
}

function draw() {
  const source = document.getElementById("figures");
  if (!source || !window.Plotly) return;
  const figures = JSON.parse(source.textContent);
  for (const place of document.querySelectorAll("[data-figure]")) {
    const figure = figures[place.dataset.figure];
    if (!figure) continue;
    const { data, layout } = themed(figure);
    window.Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
    if (!drawn.has(place)) {
      drawn.set(place, true);
      listen(place, figure.layout);
    }
  }
}

document.addEventListener("themechange", draw);
document.body.addEventListener("htmx:afterSettle", draw);
draw();
