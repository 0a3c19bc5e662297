// Draws the figures that the page carries as JSON. Colours come from the style sheet, so both themes and the flags'
// palette stand in one place.

const drawn = new Map();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function themed(figure) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("line-strong"), linecolor: colour("line-strong") };
  const layout = structuredClone(figure.layout);
  for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, automargin: true, ...layout[name] };
  for (const shape of layout.shapes ?? []) shape.line.color = colour("line-strong");
  const data = figure.data.map((trace) => {
    const fill = colour(trace.meta.flag);
    const marker = trace.type === "bar" ? { color: fill } : { color: fill, size: 5, opacity: 0.65, symbol: symbols[trace.meta.flag] };
    return { ...trace, marker };
  });
  return {
    data,
    layout: {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
      hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line-strong"), font: { color: colour("text") } },
      legend: { orientation: "h", y: 1.12, x: 0 },
      margin: { l: 48, r: 8, t: 8, b: 40 },
    },
  };
}

const symbols = { flipped: "diamond", ambiguous: "square", clear: "circle", strong: "triangle-up" };

function open(place, point) {
  const base = place.dataset.opens;
  const custom = point.customdata;
  if (Array.isArray(custom)) {
    const [low, high] = custom; // null at an open end
    const bounds = new URLSearchParams();
    if (low !== null) bounds.set("strength_from", low);
    if (high !== null) bounds.set("strength_to", high);
    location.href = `${base}?${bounds}`;
  } else {
    location.href = `${base}${custom}/`;
  }
}

function draw() {
  const source = document.getElementById("figures");
  if (!source || !window.Plotly) return;
  const figures = JSON.parse(source.textContent);
  for (const place of document.querySelectorAll("[data-figure]")) {
    const { data, layout } = themed(figures[place.dataset.figure]);
    window.Plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
    if (!drawn.has(place)) {
      drawn.set(place, true);
      place.on("plotly_click", (event) => open(place, event.points[0]));
    }
  }
}

document.addEventListener("themechange", draw);
document.body.addEventListener("htmx:afterSettle", draw);
draw();
