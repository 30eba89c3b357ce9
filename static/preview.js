"use strict";

// Live preview. Each update replaces the iframe, so that Back leaves the page instead of stepping through previews.
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
  // Not on the form itself, because the choices above the preview are outside.
  document.addEventListener("input", ({ target }) => {
    if (target.form !== form) return;
    clearTimeout(timer);
    timer = setTimeout(show, target.type === "radio" ? 0 : 500);
  });
  // Unsaved text, after an error or a test e-mail, is previewed right away.
  if (form.dataset.preview) show();
}
