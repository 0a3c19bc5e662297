// The page where annotators label: keys, what of the view is remembered, and the next pair in place of the last.

import { begun, entered, isSignedOut, leaving, sent, SIGNED_OUT } from "./drafts.js";
import { markSelected, marks, selectSentence, selected, showDifferences, showMarks } from "./marks.js";

const actions = new Map(Object.entries(JSON.parse(document.getElementById("keys").textContent)).map(([name, key]) => [key, name]));
const byId = (id) => document.getElementById(id);
const root = () => byId("label");
const form = () => byId("answer");
const control = (action) => root().querySelector(`[data-action="${action}"]`);

// --- What is switched on or off, and stays so --------------------------------------------------------------------------

const BY_DEFAULT = { raw: false, differences: false, "single-keys": true };

function nameOf(button) {
  const name = button.dataset.switch;
  return name === "at-once" ? `at-once-${button.dataset.asksMore ? "detailed" : "plain"}` : name;
}

let isRawForNow = false; // while this pair is marked

function isOn(name) {
  if (name === "raw" && isRawForNow) return true;
  const kept = localStorage.getItem(`label-${name}`);
  return kept === null ? (BY_DEFAULT[name] ?? name === "at-once-plain") : kept === "1";
}

function turn(name, on) {
  if (name === "raw") isRawForNow = false;
  localStorage.setItem(`label-${name}`, on ? "1" : "0");
  applySwitches();
}

function applySwitches() {
  for (const button of document.querySelectorAll("[data-switch]")) {
    const on = isOn(nameOf(button));
    button.setAttribute("aria-pressed", String(button.dataset.switch === "raw" ? !on : on));
    const state = button.querySelector("[data-state]");
    if (state) state.textContent = on ? "on" : "off";
    if (button.dataset.switch === "at-once") document.body.classList.toggle("at-once", on);
  }
  document.body.classList.toggle("raw", isOn("raw"));
  document.body.classList.toggle("no-keys", !isOn("single-keys"));
  compare();
  reachWide();
}

/** What is wider than its column scrolls, and is reached by the keyboard for that. */
function reachWide() {
  for (const wide of document.querySelectorAll('.formatted math[display="block"], .formatted table')) {
    if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0;
  }
}

/** Marks stand in the text as it is: show that, for this pair alone. */
function showRaw() {
  isRawForNow = true;
  applySwitches();
}

const NOT_LOADED = "Where the responses differ could not be loaded";

/** Where the responses differ, or why that is not known. */
async function differencesFrom(address) {
  const answer = await fetch(address, { redirect: "manual" });
  if (answer.ok) return answer.json();
  return { first: null, why: isSignedOut(answer) ? SIGNED_OUT : NOT_LOADED };
}

/** Ask where the responses differ once it is wanted, and show it. */
async function compare() {
  const on = isOn("differences");
  const here = root();
  document.body.classList.toggle("differences", on && Boolean(here.dataset.differences));
  if (!on || !here.dataset.differences) return showDifferences(null);
  if (!here.found) {
    here.found = differencesFrom(here.dataset.differences).catch(() => ({ first: null, why: NOT_LOADED }));
  }
  const found = await here.found;
  if (found.why) here.found = null; // asked again the next time
  if (root() !== here || !isOn("differences")) return;
  showDifferences(found);
  const button = control("differences");
  const none = found.first === null;
  document.body.classList.toggle("differences", !none);
  button.title = none ? (found.why ?? "These responses have too little in common to mark differences") : "";
  button.classList.toggle("without-effect", none);
}

function applyMemory() {
  for (const details of document.querySelectorAll("details[data-remembers]")) {
    const kept = localStorage.getItem(`label-open-${details.dataset.remembers}`);
    if (kept !== null) details.open = kept === "1";
  }
}

document.addEventListener(
  "click",
  (event) => {
    const summary = event.target.closest("details[data-remembers] > summary");
    if (!summary) return;
    const details = summary.parentElement;
    localStorage.setItem(`label-open-${details.dataset.remembers}`, details.open ? "0" : "1");
  },
  true,
);

// --- Answering ---------------------------------------------------------------------------------------------------------

function send() {
  if (byId("send")) form().requestSubmit(byId("send"));
}

function choose(radio, { again = false } = {}) {
  if (again && radio.checked) radio.checked = false;
  else radio.checked = true;
  radio.dispatchEvent(new Event("input", { bubbles: true }));
}

function answer(name) {
  if (currentAspect() !== null && name !== "both_bad") return answerAspect(name);
  leaveAspects();
  choose(control(name));
  if (document.body.classList.contains("at-once")) send();
}

/** There is no strength of no preference. */
function dimStrengths() {
  const open = form();
  const strengths = open?.querySelector(".strengths");
  if (!strengths) return;
  const none = ["tie", "both_bad"].includes(open.elements.choice.value);
  strengths.disabled = none;
}

const aspects = () => [...(form()?.querySelectorAll(".asked-aspect") ?? [])];
const currentAspect = () => form()?.querySelector(".asked-aspect.is-current") ?? null;

function goToAspect(place) {
  leaveAspects();
  const aspect = aspects()[place];
  if (!aspect) return;
  aspect.classList.add("is-current");
  aspect.scrollIntoView({ block: "nearest", behavior: "instant" });
  announce(`${aspect.querySelector("bdi").textContent}: 1, 2 or tie?`);
}

function leaveAspects() {
  currentAspect()?.classList.remove("is-current");
}

function answerAspect(name) {
  const here = currentAspect();
  choose(here.querySelector(`[value="${name}"]`));
  goToAspect(aspects().indexOf(here) + 1);
}

function nextAspect() {
  goToAspect((aspects().indexOf(currentAspect()) + 1) % Math.max(aspects().length, 1));
}

function openSkip() {
  const menu = form()?.querySelector(".skip");
  if (!menu) return;
  menu.open = !menu.open;
  if (menu.open) menu.querySelector("button").focus();
}

function closeSkip() {
  const menu = form()?.querySelector(".skip[open]");
  if (!menu) return false;
  menu.open = false;
  menu.querySelector("summary").focus();
  return true;
}

// --- Marks -------------------------------------------------------------------------------------------------------------

const bar = byId("mark-bar");

function mark(kind) {
  if (!selected()) return;
  const done = markSelected(kind, showRaw);
  if (done) announce(`Marked as ${kind}`);
  else tell("Marks are set in the text as it stands, shown now: select the words again.");
  placeBar();
}

/** The two buttons, by the end of what is selected. */
function placeBar() {
  const chosen = selected();
  bar.hidden = !chosen;
  if (!chosen) return;
  const rects = chosen.range.getClientRects();
  const last = rects[rects.length - 1] ?? chosen.range.getBoundingClientRect();
  const lowest = (form()?.getBoundingClientRect().top ?? innerHeight) - bar.offsetHeight - 8;
  bar.style.left = `${Math.max(8, Math.min(last.right, innerWidth - bar.offsetWidth - 8))}px`;
  bar.style.top = `${Math.max(56, Math.min(last.bottom + 8, lowest))}px`;
}

bar.addEventListener("pointerdown", (event) => event.preventDefault()); // what is selected stays selected
document.addEventListener("selectionchange", placeBar);
addEventListener("scroll", placeBar, { passive: true });

function tell(words) {
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.textContent = words;
  byId("notices").replaceChildren(notice);
}

function announce(words) {
  byId("announcer").textContent = words;
}

// --- Keys --------------------------------------------------------------------------------------------------------------

const PERFORMED = {
  first: () => answer("first"),
  second: () => answer("second"),
  tie: () => answer("tie"),
  both_bad: () => answer("both_bad"),
  slightly: () => strengthen("slightly"),
  clearly: () => strengthen("clearly"),
  much: () => strengthen("much"),
  aspects: nextAspect,
  rationale: () => byId("rationale")?.focus(),
  comment,
  skip: openSkip,
  sentence: () => walk(1),
  sentence_back: () => walk(-1),
  good: () => mark("good"),
  bad: () => mark("bad"),
  raw: () => turn("raw", !isOn("raw")),
  differences: () => turn("differences", !isOn("differences")),
  guidelines: () => byId("guidelines").querySelector("summary").click(),
  help: () => (byId("keys-help").open ? byId("keys-help").close() : byId("keys-help").showModal()),
  undo: () => control("undo")?.click(),
};

function comment() {
  const field = byId("comment-text");
  if (!field) return;
  field.closest("details").open = true;
  field.focus({ preventScroll: true });
  field.closest("details").scrollIntoView({ block: "nearest", behavior: "instant" });
}

function sendComment(field) {
  field.blur();
  byId("send-comment").click();
}

function strengthen(name) {
  const radio = control(name);
  if (radio && !radio.matches(":disabled")) choose(radio, { again: true });
}

function walk(step) {
  if (!form()) return;
  showRaw();
  selectSentence(step);
}

const isTyping = (element) => element.matches("textarea, select, input:not([type=radio], [type=checkbox])");
const isPressed = (element) => element.closest("button, a, summary");

function keyOf(event) {
  const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (!isPlain && !event.getModifierState("AltGraph")) return null;
  const lower = event.key.toLowerCase();
  return [...lower].length === 1 ? lower : event.key;
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || event.repeat) return;
  if (event.key === "Enter") return onEnter(event);
  if (event.key === "Escape") return onEscape(event);
  if (isTyping(event.target) || document.body.classList.contains("no-keys")) return;
  const key = keyOf(event);
  if (key === null) return;
  const dialog = byId("keys-help");
  const reason = form()?.querySelector(`.skip[open] [data-reason="${/^[1-9]$/.test(key) ? key : "0"}"]`);
  const action = reason ? () => reason.click() : PERFORMED[actions.get(key)];
  if (!action || (dialog.open && actions.get(key) !== "help")) return;
  event.preventDefault();
  action();
});

function onEnter(event) {
  if (event.target.id === "comment-text" && (event.ctrlKey || event.metaKey)) return sendComment(event.target);
  if (isTyping(event.target)) {
    if (event.target.id !== "rationale" || !(event.ctrlKey || event.metaKey)) return;
    event.target.blur();
  } else if (byId("keys-help").open || isPressed(event.target)) return;
  event.preventDefault();
  if (form()) send();
  else root().querySelector("[data-continue]")?.click();
}

function onEscape(event) {
  if (byId("keys-help").open || closeSkip()) return;
  if (isTyping(event.target)) event.target.blur();
  leaveAspects();
  getSelection().removeAllRanges();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-switch]");
  if (button) turn(nameOf(button), !isOn(nameOf(button)));
  if (event.target.closest('button[data-action="help"]')) PERFORMED.help();
  const marking = event.target.closest("#mark-bar button");
  if (marking) mark(marking.dataset.mark);
  if (!event.target.closest(".skip")) form()?.querySelector(".skip[open]")?.removeAttribute("open");
  sendIfPointed(event.target);
  letGo(event);
});

/** What the pointer pressed to change the view keeps no focus, so that Enter sends the answer. */
function letGo(event) {
  if (event.detail > 0) event.target.closest(".label-bar button, summary")?.blur();
}

let isPointed = false;

/** A choice by the pointer may be sent at once, one that arrow keys walk over may not: a pointer presses the label,
    which then presses its radio button; arrows press only that. */
function sendIfPointed(pressed) {
  if (!pressed.closest("#answer .choices label")) return;
  const isRadio = pressed.matches("input");
  if (isRadio && isPointed && document.body.classList.contains("at-once")) setTimeout(send);
  isPointed = !isRadio;
}

document.addEventListener("input", (event) => {
  if (event.target.form?.id !== "answer") return;
  dimStrengths();
  sayWhatIsAsked();
  grow(event.target);
  entered();
});

/** On a phone the aspects and the reason are out of sight: the bar says what of them is still to do. */
function sayWhatIsAsked() {
  const line = form()?.querySelector(".still-asked");
  if (!line) return;
  const open = aspects().filter((aspect) => !aspect.querySelector(":checked")).length;
  const rationale = byId("rationale");
  const asked = [open === 1 ? "1 aspect" : `${open} aspects`, "a reason"];
  const isOpen = [open > 0, rationale.ariaRequired === "true" && !rationale.value.trim()];
  const words = asked.filter((_, place) => isOpen[place]).join(" and ");
  line.textContent = words && `Also asked, above this bar: ${words}`;
}

/** What is focused or led to stays clear of what covers the end of the page. */
function keepClear() {
  const whole = form();
  if (!whole) return;
  const isSticky = getComputedStyle(whole).position === "sticky";
  const height = (isSticky ? whole : whole.querySelector(".answer-bar")).offsetHeight;
  document.documentElement.style.scrollPaddingBottom = `${height + 12}px`;
  document.documentElement.style.setProperty("--bar-height", `${height + 8}px`);
}

function watchBar() {
  covering.disconnect();
  for (const part of [form(), form()?.querySelector(".answer-bar")]) if (part) covering.observe(part);
  keepClear();
}

const covering = new ResizeObserver(keepClear);

/** A text field as high as what is written in it. By its rows: a style would be copied to the next pair's field. */
function grow(field) {
  if (!field?.matches("textarea")) return;
  field.rows = 1;
  const { lineHeight, paddingTop, paddingBottom } = getComputedStyle(field);
  const written = field.scrollHeight - Number.parseFloat(paddingTop) - Number.parseFloat(paddingBottom);
  field.rows = Math.max(1, Math.min(4, Math.round(written / Number.parseFloat(lineHeight))));
}

// --- From pair to pair -------------------------------------------------------------------------------------------------

let lease = root().dataset.lease;

document.body.addEventListener("htmx:beforeRequest", (event) => {
  const { elt } = event.detail;
  if (elt.id === "undo") leaving(); // the pair goes back with its draft
  if (elt.matches("#answer, #undo")) sent();
});

document.body.addEventListener("htmx:afterSwap", () => {
  const here = root();
  if (!here || here.isReady) return;
  if (here.dataset.lease !== lease || !form()) scrollTo({ top: 0, behavior: "instant" });
  lease = here.dataset.lease;
  ready();
  announce(here.dataset.announce);
});

function ready() {
  root().isReady = true;
  document.body.classList.remove("at-once");
  begun();
  isRawForNow = marks().length > 0;
  applySwitches();
  applyMemory();
  showMarks();
  dimStrengths();
  grow(byId("rationale"));
  sayWhatIsAsked();
  watchBar();
  bar.hidden = true;
  goToMissing();
  goToSkipped();
}

/** A skip that was taken back begins where it was: Enter skips again, Esc goes to the answers. */
function goToSkipped() {
  const menu = form()?.querySelector(".skip[open]");
  (menu?.querySelector("[data-chosen]") ?? menu?.querySelector("button"))?.focus({ preventScroll: true });
}

/** Asked for a rationale, one writes it at once. */
function goToMissing() {
  const rationale = byId("rationale");
  const isAsked = root().querySelector('[role="alert"]') && rationale?.ariaRequired === "true";
  if (isAsked && form().elements.choice.value && !rationale.value) rationale.focus({ preventScroll: true });
  else return;
  if (innerWidth <= 720) byId("answer-details").scrollIntoView({ block: "end", behavior: "instant" });
}

ready();
