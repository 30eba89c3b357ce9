// Shows what needs passkeys where there are any, and says why one did not work.
"use strict";

if (window.PublicKeyCredential) {
  for (const element of document.querySelectorAll("[data-passkeys]")) element.hidden = false;
  for (const element of document.querySelectorAll("[data-no-passkeys]")) element.hidden = true;
}
document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  const { name } = event.detail.exception;
  const message = document.querySelector("[data-passkey-error]");
  message.textContent =
    name === "SecurityError"
      ? "Passkeys do not work at this address. They need a host name, not a number."
      : name === "InvalidStateError"
        ? "This device holds a passkey of yours already."
        : "No passkey was used: it took too long, was canceled, or this device has none. Please try again.";
  message.hidden = false;
});
