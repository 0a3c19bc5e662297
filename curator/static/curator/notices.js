// What every page does: say when a request could not reach the server, and show where we are.

const place = document.getElementById("notices");

function show(words) {
  const notice = document.createElement("p");
  notice.className = "notice error";
  notice.textContent = words;
  place.replaceChildren(notice);
}

document.body.addEventListener("htmx:sendError", () => {
  show("The server cannot be reached, so this was not saved. Check the connection and try again.");
});

// A page that nobody sees asks for nothing new.
document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.requestConfig.triggeringEvent?.type === "hx:poll:trigger") event.preventDefault();
});

document.body.addEventListener("htmx:timeout", () => show("The server took too long to answer. Try again."));

document.body.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status >= 500 && event.detail.xhr.status !== 503) {
    show("Something broke on the server, so this was not saved. Try again in a moment.");
  }
});

document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful && event.detail.requestConfig.verb === "post") {
    place.replaceChildren();
  }
});

// On a narrow screen the tabs scroll: begin where we are.
for (const here of document.querySelectorAll(".tabs [aria-current], .pages [aria-current]")) {
  here.scrollIntoView({ inline: "center", block: "nearest" });
}
