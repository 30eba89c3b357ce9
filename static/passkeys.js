// Shows passkey controls if the browser supports them, and explains errors.
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
      ? "Passkeys don’t work at this address. They need a host name, not an IP address."
      : name === "InvalidStateError"
        ? "This device already has one of your passkeys."
        : "The passkey didn’t work: the request timed out, was canceled, or this device has no passkey. Please try again.";
  message.hidden = false;
});
