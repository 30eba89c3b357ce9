"use strict";

// Search boxes for related rows get the name of their field, whenever Django's script makes them.
function nameSearchBoxes() {
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    const parts = select.nextElementSibling?.querySelectorAll(".select2-selection, .select2-selection__rendered") ?? [];
    for (const part of parts) part.setAttribute("aria-label", select.getAttribute("aria-label") ?? select.name);
  }
}

// On phones, rows of a form become cards, in which each field is behind the heading of its column.
function labelCells() {
  for (const table of document.querySelectorAll(".inline-group .tabular table")) {
    const titles = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
    table.classList.add("labeled");
    for (const row of table.querySelectorAll("tbody tr:not(.add-row, .row-form-errors)")) {
      [...row.cells].forEach((cell, index) => {
        if (titles[index]) cell.dataset.label = titles[index];
      });
    }
  }
}

new MutationObserver(() => (nameSearchBoxes(), labelCells())).observe(document.body, { childList: true, subtree: true });
nameSearchBoxes();
labelCells();

// Times are in 24 hours everywhere, also in the shortcuts next to a field.
if (window.DateTimeShortcuts) {
  const hours = [0, 6, 12, 18].map((hour) => [`${String(hour).padStart(2, "0")}:00`, hour]);
  window.DateTimeShortcuts.clockHours.default_ = [["Now", -1], ...hours];
}
