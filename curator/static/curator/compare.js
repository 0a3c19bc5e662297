// Keys of the pages that show one pair at a time: each control says its key in data-key, and pressing it is clicking the
// control, or going to it where one types.

const TOGGLES = "review-toggles";

function toggles() {
  return new Set(JSON.parse(sessionStorage.getItem(TOGGLES) ?? "[]"));
}

function applyToggles() {
  const on = toggles();
  for (const control of document.querySelectorAll("[data-toggles]")) {
    const isOn = on.has(control.dataset.toggles);
    document.body.classList.toggle(control.dataset.toggles, isOn);
    control.setAttribute("aria-pressed", String(!isOn));
  }
}

function isTyping(element) {
  return element.matches("input, textarea, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea")) {
    event.target.form?.requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") event.target.blur();
    if (event.key === "Enter" && event.target.matches(".reason")) event.preventDefault();
    return;
  }
  if (document.body.classList.contains("no-keys")) return;
  const control = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!control || control.disabled) return;
  event.preventDefault();
  if (!control.matches("input, textarea")) return control.click();
  const folded = control.closest("details:not([open])");
  if (folded) folded.open = true;
  control.focus();
});

document.addEventListener("click", (event) => {
  const control = event.target.closest("[data-toggles]");
  if (!control) return;
  const on = toggles();
  if (!on.delete(control.dataset.toggles)) on.add(control.dataset.toggles);
  sessionStorage.setItem(TOGGLES, JSON.stringify([...on]));
  applyToggles();
});

// What is open stays open from pair to pair.
document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.dataset.remembers) sessionStorage.setItem(event.target.dataset.remembers, event.target.open ? "1" : "");
  },
  true,
);

function applyMemory() {
  for (const details of document.querySelectorAll("[data-remembers]")) {
    details.open = Boolean(sessionStorage.getItem(details.dataset.remembers));
  }
}

// The next pair takes the place of this one: keep the focus on the same control, and say what came.
let focused = null;

document.body.addEventListener("htmx:beforeSwap", () => {
  focused = document.activeElement?.closest("#review")?.contains(document.activeElement)
    ? document.activeElement.dataset.key
    : null;
});

document.body.addEventListener("htmx:afterSettle", (event) => {
  applyToggles();
  const review = document.getElementById("review");
  if (event.target !== review) return; // a part beside the pair
  applyMemory();
  scrollTo({ top: 0, behavior: "instant" });
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]:not(:disabled)`)?.focus();
  document.getElementById("announcer").textContent = review.dataset.announce;
});

applyToggles();
applyMemory();
