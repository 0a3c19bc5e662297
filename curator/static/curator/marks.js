// Marks on a response: positions are characters of its text as it stands, so marks are set and shown there. The page's
// own elements stay as they are: marks and differences are painted over them.

const painted = globalThis.CSS?.highlights;

/** The elements that hold a response's text as it stands, in order. */
function textsOf(side) {
  return [...document.querySelectorAll(`.response[data-side="${side}"] > .text`)];
}

/** Every text node of the response with how many characters of the response it stands for. */
function* pieces(side) {
  for (const root of textsOf(side)) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const isSign = node.parentElement.classList.contains("mark-of"); // several letters for one character
      yield { node, isSign, length: isSign ? 1 : charactersIn(node.data) };
    }
  }
}

/** Characters, not the halves of them that strings here are made of. */
function charactersIn(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

function indexOf(text, characters) {
  let index = 0;
  for (const character of text) {
    if (characters-- <= 0) break;
    index += character.length;
  }
  return index;
}

/** How many characters of the response stand before a point of the page. */
function positionOf(side, container, offset) {
  const before = document.createRange();
  before.setStart(document, 0);
  before.setEnd(container, offset);
  let position = 0;
  for (const { node, isSign, length } of pieces(side)) {
    if (node === container) return position + (isSign ? Number(offset > 0) : charactersIn(node.data.slice(0, offset)));
    if (before.comparePoint(node, node.length) > 0) return position;
    position += length;
  }
  return position;
}

/** The part of the page that shows these characters of the response. */
function rangeOf(side, start, end) {
  const range = document.createRange();
  let position = 0;
  let hasStart = false;
  for (const { node, isSign, length } of pieces(side)) {
    const at = (wanted) => (isSign ? (wanted > position ? node.length : 0) : indexOf(node.data, wanted - position));
    if (!hasStart && start < position + length) {
      range.setStart(node, at(start));
      hasStart = true;
    }
    if (hasStart && end <= position + length) {
      range.setEnd(node, at(end));
      return range;
    }
    position += length;
  }
  return null;
}

function paint(name, ranges) {
  if (!painted) return;
  if (ranges.length) painted.set(name, new Highlight(...ranges));
  else painted.delete(name);
}

const field = () => document.querySelector('#answer [name="spans"]');

export function marks() {
  return JSON.parse(field()?.value || "[]");
}

function keep(spans) {
  field().value = JSON.stringify(spans);
  field().dispatchEvent(new Event("input", { bubbles: true }));
  showMarks();
}

/** Paint the marks of the answer, and list them below their response, where each can be removed. */
export function showMarks() {
  const spans = field() ? marks() : [];
  for (const mark of ["good", "bad"]) {
    const ranges = spans.filter((span) => span.mark === mark).map((span) => rangeOf(span.side, span.start, span.end));
    paint(mark, ranges.filter(Boolean));
  }
  for (const list of document.querySelectorAll(".response > .marks")) {
    const own = spans.filter((span) => span.side === list.closest(".response").dataset.side);
    list.replaceChildren(...own.map(entry));
    list.hidden = own.length === 0;
  }
}

function entry(span) {
  const words = shorten(rangeOf(span.side, span.start, span.end)?.toString() ?? "");
  const line = document.createElement("li");
  line.className = span.mark;
  const text = document.createElement("bdi");
  text.textContent = words;
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "quiet";
  remove.textContent = "✕";
  remove.setAttribute("aria-label", `Remove the mark “${words}”`);
  remove.addEventListener("click", () => {
    const next = line.nextElementSibling ?? line.previousElementSibling;
    const place = [...line.parentElement.children].indexOf(next ?? line);
    const list = line.parentElement;
    keep(marks().filter((other) => JSON.stringify(other) !== JSON.stringify(span)));
    (list.children[Math.min(place, list.children.length - 1)]?.querySelector("button") ?? document.getElementById("send"))?.focus();
  });
  const said = document.createElement("span");
  said.textContent = span.mark === "good" ? "+ good" : "− bad";
  line.append(said, " ", text, " ", remove);
  return line;
}

function shorten(words) {
  const plain = words.replace(/\s+/g, " ").trim();
  return plain.length > 60 ? `${plain.slice(0, 59)}…` : plain;
}

/** What is selected of one response, if anything: as characters of it, or as words of its formatted text. */
export function selected() {
  const selection = getSelection();
  if (!field() || !selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  const response = elementOf(range.commonAncestorContainer).closest(".response");
  if (!response) return null;
  return { side: response.dataset.side, range, words: selection.toString(), isFormatted: !isRaw(range, response) };
}

function elementOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement;
}

function isRaw(range, response) {
  const inside = (node) => elementOf(node).closest(".text, .formatted");
  const ends = [inside(range.startContainer), inside(range.endContainer)].filter(Boolean);
  if (ends.length) return ends.every((end) => end.matches(".text"));
  return getComputedStyle(response.querySelector(".text") ?? response).display !== "none";
}

/** Mark what is selected; false where it cannot be told which characters are meant. */
export function markSelected(mark, showRaw) {
  const chosen = selected();
  if (!chosen) return false;
  const span = chosen.isFormatted ? spanOfWords(chosen) : spanOfRange(chosen);
  showRaw();
  if (!span) return false;
  getSelection().removeAllRanges();
  const others = marks().filter((other) => other.side !== span.side || other.start !== span.start || other.end !== span.end);
  const before = (a, b) => a.start - b.start || a.end - b.end;
  keep([...others, { ...span, mark }].sort(before));
  return true;
}

function spanOfRange({ side, range }) {
  const start = positionOf(side, range.startContainer, range.startOffset);
  const end = positionOf(side, range.endContainer, range.endOffset);
  return start < end ? { side, start, end } : null;
}

/** Words of the formatted text, where they stand in the response once and exactly so. */
function spanOfWords({ side, words }) {
  const sought = words.trim();
  const text = textsOf(side).map((root) => root.textContent).join("");
  const at = text.indexOf(sought);
  if (!sought || at < 0 || text.indexOf(sought, at + 1) >= 0) return null;
  const [from, to] = [pointAt(side, at), pointAt(side, at + sought.length)];
  const start = positionOf(side, ...from);
  const end = positionOf(side, ...to);
  return { side, start, end };
}

/** The point of the page after so many units of the response's text. */
function pointAt(side, units) {
  let last = null;
  for (const { node } of pieces(side)) {
    if (units <= node.length) return [node, units];
    units -= node.length;
    last = node;
  }
  return [last, last.length];
}

let sentence = null;

/** Select the sentence after or before the one selected last, response 1 first. */
export function selectSentence(step) {
  const sentences = [...sentencesOf("first"), ...sentencesOf("second")];
  if (!sentences.length) return;
  const here = sentence?.root.isConnected ? sentence.place : step > 0 ? -1 : sentences.length;
  const place = Math.min(Math.max(here + step, 0), sentences.length - 1);
  const { side, start, end } = sentences[place];
  const [from, to] = [pointAt(side, start), pointAt(side, end)];
  sentence = { place, root: from[0] };
  getSelection().setBaseAndExtent(...from, ...to);
  from[0].parentElement.closest(".response").querySelector(".text");
  scrollToRange(getSelection().getRangeAt(0));
}

function sentencesOf(side) {
  const text = textsOf(side).map((root) => root.textContent).join("");
  if (!globalThis.Intl?.Segmenter) return text ? [{ side, start: 0, end: text.length }] : [];
  const found = [];
  for (const { segment, index } of new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(text)) {
    const kept = segment.trimEnd();
    if (kept.trim()) found.push({ side, start: index, end: index + kept.length });
  }
  return found;
}

function scrollToRange(range) {
  const box = range.getBoundingClientRect();
  const bottom = document.querySelector(".answer")?.getBoundingClientRect().top ?? innerHeight;
  if (box.top < 60) scrollBy({ top: box.top - 100, behavior: "instant" });
  else if (box.bottom > bottom - 8) scrollBy({ top: box.bottom - bottom + 40, behavior: "instant" });
}

/** Paint where the responses differ; null where they have too little in common. */
export function showDifferences(found) {
  const ranges = ["first", "second"].flatMap((side) => (found?.[side] ?? []).map(([start, end]) => rangeOf(side, start, end)));
  paint("differs", ranges.filter(Boolean));
}
