// The list of pairs by keyboard: j and k move, Enter opens the chosen pair beside the list, r reviews it, Escape closes.

const panel = () => document.getElementById("panel");
const links = () => [...document.querySelectorAll("#pair-rows .excerpt > a")];
const chosen = () => document.querySelector("#pair-rows tr.chosen .excerpt > a");
const isOpen = () => Boolean(panel() && !panel().hidden);

function choose(link) {
  for (const row of document.querySelectorAll("#pair-rows tr.chosen")) row.classList.remove("chosen");
  link.closest("tr").classList.add("chosen");
}

function move(step) {
  const all = links();
  if (!all.length) return;
  const now = all.indexOf(chosen());
  const link = all[Math.min(Math.max(now + step, 0), all.length - 1)];
  choose(link);
  link.focus();
  link.closest("tr").scrollIntoView({ block: "nearest" });
  if (isOpen() && all.indexOf(link) !== now) link.click();
}

function close() {
  panel().hidden = true;
  panel().replaceChildren();
  document.querySelector(".explore")?.classList.remove("beside");
  chosen()?.focus();
}

function isTyping(element) {
  return element.matches("input, textarea, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    const menu = document.querySelector("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    } else if (isOpen()) close();
    return;
  }
  if (isTyping(event.target)) return;
  const key = event.key.toLowerCase();
  if (key === "j" || key === "k") {
    event.preventDefault();
    move(key === "j" ? 1 : -1);
  }
  if (key === "r" && chosen() && !event.repeat) location.assign(chosen().dataset.review);
});

document.addEventListener("focusin", (event) => {
  if (event.target.matches("#pair-rows .excerpt > a")) choose(event.target);
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-closes-panel]")) return close();
  const row = event.target.closest("#pair-rows tr:not(.more)");
  if (row && !event.target.closest("a, button")) row.querySelector(".excerpt > a")?.click();
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.target !== panel()) return;
  panel().hidden = false;
  panel().scrollTop = 0;
  document.querySelector(".explore").classList.add("beside");
  document.getElementById("announcer").textContent = panel().querySelector("h2")?.textContent ?? "";
  chosen()?.closest("tr").scrollIntoView({ block: "nearest" });
});

// What the list says of itself is said once it has changed.
document.body.addEventListener("htmx:oobAfterSwap", (event) => {
  if (event.target.id === "pair-count") document.getElementById("announcer").textContent = event.target.textContent;
});

// The address of a filter holds what was set: not the fields that are empty, nor the order that the list has anyway.
document.addEventListener("formdata", (event) => {
  if (!event.target.matches(".filter-bar")) return;
  for (const name of new Set(event.formData.keys())) {
    const usual = event.target.elements[name]?.dataset?.usual;
    const set = event.formData.getAll(name).filter((value) => value !== "" && value !== usual);
    event.formData.delete(name);
    for (const value of set) event.formData.append(name, value);
  }
});
