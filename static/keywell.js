// Makes pleasant what works without it.
"use strict";

const dialog = document.getElementById("dialog");

// A confirmation that htmx has fetched opens as a dialog. What is none, such as a refusal, is a page; and so is what comes
// from elsewhere than asked for, such as the sign-in page.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target, requestConfig } = event.detail;
  const asked = new URL(requestConfig.path, location);
  if (target === dialog ? xhr.getResponseHeader("Content-Confirm") === null : !xhr.responseURL.startsWith(asked)) {
    event.preventDefault();
    location.assign(target === dialog ? asked : location.pathname + location.search);
  }
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== dialog || dialog.open) return;
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
});
document.addEventListener("click", (event) => {
  const close = event.target.closest("[data-close]");
  if (event.target === dialog || (close && dialog?.contains(close))) {
    event.preventDefault();
    dialog.close();
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// A form is sent once, however often its button is clicked. The button is disabled after its value was taken along.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.hasAttribute("hx-post") || event.submitter?.formTarget) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("[type=submit]")) button.setAttribute("aria-busy", "true");
});
// Coming back to a page finds it as it was.
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.forms) delete form.dataset.sent;
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
});

// Copying. The button is hidden until there is a clipboard to copy to.
function showCopyButtons(root) {
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}
showCopyButtons(document);
document.addEventListener("htmx:load", (event) => showCopyButtons(event.detail.elt));
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  const label = button.querySelector("span");
  const before = label.textContent;
  label.textContent = button.dataset.copied ?? "Copied";
  setTimeout(() => (label.textContent = before), 2000);
});

// A preview follows what is typed. Its frame is new each time, for Back to lead to the page before.
for (const form of document.querySelectorAll("form[data-preview]")) {
  const button = form.querySelector("[formtarget]");
  let timer;
  const show = () => {
    const frame = document.getElementsByName(button.formTarget)[0];
    const fresh = frame.cloneNode();
    fresh.removeAttribute("src");
    frame.replaceWith(fresh);
    form.requestSubmit(button);
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 500);
  });
  // What was not saved, for a mistake or because it was only mailed as a test, is shown as it stands.
  if (form.dataset.preview) show();
}

// Ctrl-K or ⌘K leads to the search.
document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.metaKey || event.ctrlKey)) return;
  const search = document.querySelector("[data-search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
});
