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
    if (event.target.matches(".reason")) onReasonKey(event);
    return;
  }
  if (document.body.classList.contains("no-keys") || isAsking(event)) return;
  const key = event.key.toLowerCase();
  if (left) pressed = key;
  else if (press(key)) event.preventDefault();
});

/** Press the control of the key, or go to it where one types; false where there is none. What has a key elsewhere says why
 * it has none here. */
function press(key) {
  const control = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!control) sayWhyNot(key);
  if (!control || control.disabled) return false;
  usePressed(control);
  return true;
}

function sayWhyNot(key) {
  const reason = document.querySelector(`[data-instead-of~="${CSS.escape(key)}"]`);
  if (!reason) return;
  reason.hidden = false;
  document.getElementById("announcer").textContent = reason.textContent.trim();
}

function usePressed(control) {
  if (!control.matches("input, textarea")) return control.click();
  const folded = control.closest("details:not([open])");
  if (folded) folded.open = true;
  control.focus();
}

/** While the help is open, only its own key does anything. */
function isAsking(event) {
  const help = document.querySelector("dialog[open]");
  if (help && event.key === "?") help.close();
  return Boolean(help);
}

// Reasons: a digit in the empty field is one of those offered, and the field is left at once, so that a verdict may follow.

function onReasonKey(event) {
  if (event.key === "Enter") event.preventDefault();
  const offered = event.target.closest(".reasons")?.querySelectorAll("[data-reason]") ?? []; // a dispute offers none
  const chosen = event.target.value === "" && /^[1-9]$/.test(event.key) && offered[Number(event.key) - 1];
  if (!chosen) return;
  event.preventDefault();
  choose(chosen);
}

function choose(offered) {
  const field = offered.closest(".reasons").querySelector(".reason");
  field.value = offered.dataset.reason;
  field.blur();
  offered.blur();
}

document.addEventListener("click", (event) => {
  const offered = event.target.closest("[data-reason]");
  if (offered) choose(offered);
  const opener = event.target.closest("[data-opens]");
  if (opener) document.getElementById(opener.dataset.opens).showModal();
  const menu = document.querySelector(".queue-menu[open]");
  if (menu && !menu.contains(event.target)) menu.open = false;
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

// On a phone a long prompt shows its first lines, and all of it when one asks.

function foldPrompt() {
  const prompt = document.querySelector(".prompt-scroll");
  const button = document.querySelector(".whole-prompt");
  if (!prompt || !button || prompt.classList.contains("is-whole")) return;
  button.hidden = prompt.scrollHeight <= prompt.clientHeight + 1;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".whole-prompt");
  if (!button) return;
  const isWhole = document.querySelector(".prompt-scroll").classList.toggle("is-whole");
  button.setAttribute("aria-expanded", String(isWhole));
  button.textContent = isWhole ? "Fewer lines" : "Whole prompt";
});

addEventListener("resize", foldPrompt);

// The next pair takes the place of this one: keep the focus on the same control, and say what came.
let focused = null;

function rememberFocus() {
  const here = document.activeElement;
  focused = here?.closest("#review") ? here.dataset.key : null;
}

document.body.addEventListener("htmx:beforeSwap", () => {
  if (!left) rememberFocus(); // else it was when the pair was left
});

document.body.addEventListener("htmx:afterSettle", (event) => {
  applyToggles();
  const review = document.getElementById("review");
  if (event.target !== review) return; // a part beside the pair
  applyMemory();
  foldPrompt();
  if (!left) scrollTo({ top: 0, behavior: "instant" });
  forgetLeft();
  fetchAhead();
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]:not(:disabled)`)?.focus();
  document.getElementById("announcer").textContent = review.dataset.announce;
  const meant = review.dataset.pair === shown ? pressed : null; // pressed before the answer was there, for this pair
  pressed = shown = null;
  if (meant) press(meant);
});

// The next pair is fetched while this one is read. It shows at once when this one is decided or skipped, and waits with its
// buttons for the answer, which takes its place or, where the server could not be reached, brings this one back.

let fetched = null; // { pair, html }: what follows the pair
let left = null; // what was shown before, until the answer is there
let shown = null; // the pair in its place
let pressed = null; // the last key meanwhile

async function fetchAhead() {
  const { pair, ahead } = document.getElementById("review")?.dataset ?? {};
  if (!ahead || fetched?.pair === pair) return;
  fetched = { pair, html: null };
  const asked = fetched;
  const answer = await fetch(ahead, { headers: { "HX-Request": "true" }, redirect: "manual" }).catch(() => null);
  if (answer?.status !== 200) return;
  asked.html = await answer.text();
  if (asked === fetched) document.getElementById("review").dataset.fetched = pair; // there to be shown
}

function showAhead() {
  const review = document.getElementById("review");
  if (!fetched?.html || fetched.pair !== review.dataset.pair) return;
  const ahead = new DOMParser().parseFromString(fetched.html, "text/html").getElementById("review");
  if (!ahead) return;
  rememberFocus();
  left = document.createElement("div"); // within the page, which hears what becomes of the request
  left.hidden = true;
  left.append(...review.childNodes);
  document.body.append(left);
  review.append(...ahead.childNodes);
  review.ariaBusy = "true";
  shown = ahead.dataset.pair;
  for (const control of review.querySelectorAll("button, input")) control.disabled = true;
  applyToggles();
  applyMemory();
  foldPrompt();
  scrollTo({ top: 0, behavior: "instant" });
}

function bringBack() {
  if (!left) return;
  const review = document.getElementById("review");
  review.replaceChildren(...left.childNodes);
  review.ariaBusy = null;
  pressed = shown = null;
  forgetLeft();
}

function forgetLeft() {
  left?.remove();
  left = null;
}

const goesOn = (form) => form.matches?.("form.decide, form.skip-pair");

document.body.addEventListener("htmx:beforeSend", (event) => {
  if (goesOn(event.detail.elt)) showAhead();
});
for (const name of ["htmx:sendError", "htmx:timeout", "htmx:sendAbort"]) document.body.addEventListener(name, bringBack);
document.body.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status >= 500) bringBack();
});

applyToggles();
applyMemory();
foldPrompt();
fetchAhead();
