"use strict";

// Rows of a list are dragged by their handle. Buttons do the same by keyboard.
function showHandles(root) {
  for (const handle of root.querySelectorAll("[data-handle]")) handle.hidden = false;
}
showHandles(document);
document.addEventListener("htmx:load", (event) => showHandles(event.detail.elt));
document.addEventListener("pointerdown", (event) => {
  const handle = event.target.closest("[data-handle]");
  if (!handle) return;
  event.preventDefault();
  const row = handle.closest("li");
  row.classList.add("moved");
  handle.setPointerCapture(event.pointerId);
  handle.onpointermove = ({ clientY }) => {
    const isBelow = (other) => clientY > other.getBoundingClientRect().top + other.offsetHeight / 2;
    const others = [...row.parentElement.children].filter((other) => other !== row);
    row.parentElement.insertBefore(row, others.find((other) => !isBelow(other)) ?? null);
  };
  handle.onlostpointercapture = () => {
    handle.onpointermove = handle.onlostpointercapture = null;
    row.classList.remove("moved");
    row.dispatchEvent(new Event("arranged", { bubbles: true }));
  };
});
