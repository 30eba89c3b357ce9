// Search boxes for related rows get the name of their field, whenever Django's script makes them.
"use strict";

function nameSearchBoxes() {
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    const parts = select.nextElementSibling?.querySelectorAll(".select2-selection, .select2-selection__rendered") ?? [];
    for (const part of parts) part.setAttribute("aria-label", select.getAttribute("aria-label") ?? select.name);
  }
}
new MutationObserver(nameSearchBoxes).observe(document.body, { childList: true, subtree: true });
nameSearchBoxes();
