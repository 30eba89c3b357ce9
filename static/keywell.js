// Progressive enhancement: every page works without it.
"use strict";

const dialog = document.getElementById("dialog");

// Confirmations that htmx fetched open as a dialog. Any other response, such as an error or a redirect to the sign-in
// page, loads as a page.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target, requestConfig } = event.detail;
  const requested = new URL(requestConfig.path, location);
  if (target === dialog ? xhr.getResponseHeader("Content-Confirm") === null : !xhr.responseURL.startsWith(requested)) {
    event.preventDefault();
    if (drafted?.contains(requestConfig.elt)) keepDraft();
    location.assign(target === dialog ? requested : location.pathname + location.search);
  }
});
// The button that opened the dialog gets the focus back: when the dialog closes, also if htmx has replaced the button
// meanwhile, and on the page that follows the dialog's form. If it is in a closed menu, the menu's button gets it; if it
// is gone, the content.
let opener = "";
function focusOpener() {
  const link = [...document.querySelectorAll("[hx-get]")].find((each) => each.getAttribute("hx-get") === opener);
  const menu = link?.closest("details:not([open])");
  const target = menu ? menu.querySelector("summary") : (link ?? document.getElementById("content"));
  target?.focus({ preventScroll: true });
}
dialog?.addEventListener("close", () => {
  const focused = document.activeElement;
  if (!focused || focused === document.body || !focused.checkVisibility()) focusOpener();
});
dialog?.addEventListener("submit", () => sessionStorage.setItem("opener", JSON.stringify([location.pathname, opener])));
if (dialog) {
  const [path, last] = JSON.parse(sessionStorage.getItem("opener") ?? "[]");
  sessionStorage.removeItem("opener");
  opener = path === location.pathname ? last : "";
  // After the browser has scrolled to the URL's fragment, which takes the focus away.
  if (opener) window.addEventListener("load", () => setTimeout(focusOpener));
}

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== dialog || dialog.open) return;
  opener = event.detail.requestConfig.elt.getAttribute("hx-get");
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
});
document.addEventListener("click", (event) => {
  const close = event.target.closest("[data-close]");
  if (event.target === dialog || (close && dialog?.contains(close))) {
    event.preventDefault();
    dialog.close();
  }
  for (const menu of document.querySelectorAll("details:is(.menu, .more, .filter)[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

// Back and Forward skip a page as it was before its dialog was answered.
if (dialog && window.navigation) {
  dialog.addEventListener("submit", () => history.replaceState({ answered: true }, ""));
  window.addEventListener("pageshow", () => {
    const { index } = navigation.currentEntry;
    const before = Number(sessionStorage.getItem("entry") ?? index);
    sessionStorage.setItem("entry", index);
    if (history.state?.answered && index !== before) history.go(Math.sign(index - before));
  });
}

// A log's request shows beside the list, or as a page where there is no room for it.
document.addEventListener("htmx:confirm", (event) => {
  const { elt, target } = event.detail;
  if (target.id !== "detail" || target.checkVisibility()) return;
  event.preventDefault();
  location.assign(elt.href);
});
document.addEventListener("htmx:afterSwap", (event) => {
  const { target, requestConfig } = event.detail;
  if (target.id !== "detail" || !requestConfig.elt.href) return;
  document.querySelector(".entries [aria-current]")?.removeAttribute("aria-current");
  requestConfig.elt.setAttribute("aria-current", "true");
  target.scrollTop = 0;
});

// “E-mail” doesn't break at its hyphen. The text stays as it is, for searching and copying.
function keepTogether(root) {
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    if (!/\be-mail/i.test(data) || parentElement.closest("textarea, option, script, pre, .unbroken")) continue;
    // In a flex box, the parts of a text would become items.
    if (!/flex|grid/.test(getComputedStyle(parentElement).display)) found.push(texts.currentNode);
  }
  for (const text of found) {
    // From the end, so that the positions of the others stay.
    for (const { index, 0: word } of [...text.data.matchAll(/\be-mails?/gi)].reverse()) {
      const range = document.createRange();
      range.setStart(text, index);
      range.setEnd(text, index + word.length);
      range.surroundContents(Object.assign(document.createElement("span"), { className: "unbroken" }));
    }
  }
}
keepTogether(document.body);
document.addEventListener("htmx:load", (event) => keepTogether(event.detail.elt));

// Messages can be closed. Those about a success also go away with the next click.
for (const button of document.querySelectorAll("[data-close-message]")) {
  button.hidden = false;
  button.addEventListener("click", () => button.parentElement.remove());
}
document.addEventListener("click", (event) => {
  if (event.target.closest(".messages") || !event.target.closest("a, button, input, select, textarea, summary")) return;
  for (const message of document.querySelectorAll(".messages .success")) message.remove();
});

// What was typed into a long form is kept in this tab until it is accepted, and is there again after signing in if the
// session had ended. Never passwords, other secrets or files.
const NOT_KEPT = ["password", "file", "hidden", "submit"];
const sent = sessionStorage.getItem("sent");
const drafted = document.querySelector("form[data-draft]");
const isList = drafted?.dataset.draft === "list";
const isAnswer = sent === location.pathname && !performance.getEntriesByType("navigation")[0]?.redirectCount;
if (sent && (location.pathname.startsWith("/accounts/") || (isAnswer && !drafted))) sessionStorage.setItem("restore", sent);
else if (sent && !isAnswer) sessionStorage.removeItem("draft");
sessionStorage.removeItem("sent");
if (drafted) {
  const draft = sessionStorage.getItem("restore") === location.pathname && sessionStorage.getItem("draft");
  if (draft) restoreDraft(JSON.parse(draft));
  sessionStorage.removeItem("restore");
  drafted.addEventListener("submit", (event) => {
    if (!event.submitter?.formTarget) keepDraft();
  });
}
function keepDraft() {
  const draft = isList ? readList() : readFields().map((field) => [field.name, field.value, field.checked]);
  sessionStorage.setItem("draft", JSON.stringify(draft));
  sessionStorage.setItem("sent", location.pathname);
}
function restoreDraft(draft) {
  if (isList) return restoreList(draft);
  const fields = readFields();
  for (const [index, [name, value, checked]] of draft.entries()) {
    if (fields[index]?.name === name) Object.assign(fields[index], { value, checked });
  }
}
function readFields() {
  return [...drafted.elements].filter((field) => field.name && !NOT_KEPT.includes(field.type));
}
// The server renders the rows of a list from what is posted to it.
function readList() {
  const isSecret = (name) => name.endsWith("-value") && drafted.elements[name.replace("-value", "-is_secret")].checked;
  return [...new FormData(drafted)].filter(([name]) => !isToken(name) && !isSecret(name));
}
function isToken(name) {
  return !name.includes("-") && !["row", "known", "find"].includes(name);
}
function restoreList(draft) {
  const tokens = [...new FormData(drafted)].filter(([name]) => isToken(name));
  const values = new FormData();
  for (const [name, value] of [...tokens, ...draft, ["do", "show"]]) values.append(name, value);
  htmx.ajax("POST", location.pathname, { values, target: drafted, select: `#${drafted.id} > *`, swap: "innerHTML" });
}

// Submit each form only once, however often its button is clicked. The button stays enabled, so its value is sent.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.hasAttribute("hx-post") || event.submitter?.formTarget) return;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  for (const button of form.querySelectorAll("[type=submit]")) button.setAttribute("aria-busy", "true");
});
// Re-enable forms when a page is restored from the back/forward cache.
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  dialog?.close();
  for (const form of document.forms) delete form.dataset.sent;
  for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
});

// Copy buttons are hidden unless the browser has a clipboard API.
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

// A file that is dropped anywhere on the page is uploaded with this form.
for (const form of document.querySelectorAll("form[data-drop]")) {
  const sign = Object.assign(document.createElement("div"), { className: "drop-here", textContent: form.dataset.drop });
  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    document.body.append(sign);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || sign.remove());
  document.addEventListener("drop", (event) => {
    sign.remove();
    if (!hasFile(event) || event.target.type === "file") return;
    event.preventDefault();
    form.elements.file.files = event.dataTransfer.files;
    form.requestSubmit();
  });
}

// Try an operation of the API with a test key, which stays in this page.
for (const section of document.querySelectorAll("[data-try]")) {
  section.hidden = false;
  section.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
    const { key, path, body } = event.target.elements;
    const headers = { Authorization: `Bearer ${key.value.trim()}` };
    if (body) headers["Content-Type"] = body.dataset.type;
    const output = section.querySelector("output");
    try {
      const response = await fetch(path.value, { method: section.dataset.try, headers, body: body?.value, credentials: "omit" });
      const text = await response.text();
      const shown = response.headers.get("Content-Type")?.includes("json") ? JSON.stringify(JSON.parse(text), null, 2) : text;
      const quote = Object.assign(document.createElement("pre"), { className: "quote", textContent: shown });
      output.replaceChildren(`${response.status} ${response.statusText}`, quote);
    } catch (error) {
      output.textContent = error.message;
    }
  });
}

// Ctrl-K or ⌘K focuses the search field, or opens its page where there is no room for it. Arrows go through what it finds.
document.addEventListener("keydown", (event) => {
  const search = document.querySelector("[data-search]");
  if (!search) return;
  if (event.key.toLowerCase() === "k" && (event.metaKey || event.ctrlKey)) {
    event.preventDefault();
    if (!search.checkVisibility()) return location.assign(search.form.action);
    search.focus();
    search.select();
  }
  const palette = search.closest(".palette");
  if (!palette?.contains(event.target)) return;
  if (event.key === "Escape") {
    search.focus();
    document.getElementById("found").replaceChildren();
  }
  const stops = [search, ...palette.querySelectorAll("#found a")];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || stops.length === 1) return;
  event.preventDefault();
  stops.at((stops.indexOf(document.activeElement) + step) % stops.length).focus();
});
