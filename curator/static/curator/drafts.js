// What is entered is kept on the server while the pair is open, and so is the time spent on it: seconds in which the
// page was seen and its reader did something within the last half minute.

const IDLE = 30_000;
const PAUSE = 1_000;
const RENEWAL = 5 * 60_000; // the pair is held for longer while somebody works on it
const TICK = 1_000;
const LONGEST_KEPT_ALIVE = 60_000; // browsers refuse to finish more than 64 KiB after a page has gone
const SAVED = "Draft saved";
export const SIGNED_OUT = "You are signed out: sign in in another tab";

let timer = null;
let isUnsaved = false;
let savedAt = performance.now();
let actedAt = performance.now();
let tickedAt = performance.now();

const form = () => document.getElementById("answer");

function acted() {
  actedAt = performance.now();
}

for (const kind of ["keydown", "pointerdown", "pointermove", "wheel", "touchmove", "scroll"]) {
  addEventListener(kind, acted, { passive: true, capture: true });
}

function tick() {
  const now = performance.now();
  const passed = Math.min(now - tickedAt, 2 * TICK);
  tickedAt = now;
  const seconds = form()?.elements.seconds;
  if (!seconds || document.hidden || now - actedAt > IDLE) return;
  seconds.value = (Number(seconds.value) + passed / 1000).toFixed(1);
  if (now - savedAt > RENEWAL) save();
}

setInterval(tick, TICK);

/** What is sent is signed as the last sign-in of this browser wants it, in whichever tab that was. */
function sign() {
  const mark = document.cookie.match(/(?:^|; )csrftoken=(\w+)/);
  const field = form()?.elements.csrfmiddlewaretoken;
  if (mark && field) field.value = mark[1];
}

async function save({ keepalive = false } = {}) {
  clearTimeout(timer);
  const open = form();
  if (!open || open.classList.contains("htmx-request")) return;
  isUnsaved = false;
  savedAt = performance.now();
  sign();
  const body = new FormData(open);
  const said = await fetch(open.dataset.draft, { method: "POST", body, redirect: "manual", keepalive: keepalive && isShort(body) })
    .then(saying)
    .catch(() => "Draft not saved: the server cannot be reached");
  if (form() !== open) return;
  if (said !== SAVED) isUnsaved = true; // the next change, or coming back to the page, tries again
  say(said);
}

function saying(answer) {
  if (answer.status === 204) return SAVED;
  return isSignedOut(answer) ? `Draft not saved. ${SIGNED_OUT}` : "Draft not saved";
}

/** Whether the server leads to where one signs in instead of answering. */
export const isSignedOut = (answer) => answer.type === "opaqueredirect";

const isShort = (body) => new Blob([...body.values()]).size < LONGEST_KEPT_ALIVE;

function say(words) {
  document.getElementById("draft-state").textContent = words;
}

/** Keep what was entered, a moment after the last change. */
export function entered() {
  isUnsaved = true;
  clearTimeout(timer);
  timer = setTimeout(save, PAUSE);
}

/** An answer is on its way: a draft of it would only come late. */
export function sent() {
  isUnsaved = false;
  clearTimeout(timer);
}

/** Another pair is shown. */
export function begun() {
  sent();
  savedAt = actedAt = tickedAt = performance.now();
}

/** Keep what is not kept yet, now. */
export function leaving() {
  if (isUnsaved) save({ keepalive: true });
}

function comeBack() {
  acted();
  if (isUnsaved) save();
}

addEventListener("pagehide", leaving);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) leaving();
  else comeBack();
});

// to the moment at which the answer is sent
document.addEventListener("submit", tick, { capture: true });
document.addEventListener("submit", sign, { capture: true });
