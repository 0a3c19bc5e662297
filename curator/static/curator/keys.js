// The page of one's own keys: a field is left with the key that is pressed in it.

const fields = [...document.querySelectorAll(".own-keys input:not([type=hidden])")];

for (const field of fields) {
  field.addEventListener("focus", () => field.select());
  field.addEventListener("keydown", (event) => {
    const isKey = [...event.key].length === 1 && event.key !== " ";
    if (!isKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    event.preventDefault();
    field.value = event.key.toLowerCase();
    field.select();
    showDoubles();
  });
  field.addEventListener("input", showDoubles);
}

/** Say at once where one key stands for two actions; what counts is said when they are kept. */
function showDoubles() {
  for (const field of fields) {
    const isDouble = fields.some((other) => other !== field && other.value === field.value);
    field.setCustomValidity(isDouble ? "This key stands twice." : "");
    field.closest(".field").classList.toggle("has-errors", isDouble);
  }
}
