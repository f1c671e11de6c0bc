// @ts-check
/** Asks for a key until one is right. */

import { byId } from "./dom.js";
import { sentenceFor } from "./notice.js";
import { text } from "./texts.js";

/**
 * @param {import("./service-api.js").ServiceApi} api
 * @returns {Promise<boolean>} false when the dialog was left without a key
 */
export function askForKey(api) {
  const dialog = byId("key-dialog");
  const form = dialog.querySelector("form");
  byId("key-error").textContent = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      byId("key").value = "";
      resolve(api.hasKey);
    };
    form.onsubmit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      try {
        await api.signIn(byId("key").value);
        dialog.close();
      } catch (error) {
        const wrong = /** @type {{code?: string}} */ (error).code === "AUTH_FAILED";
        byId("key-error").textContent = wrong ? text("keyWrong") : sentenceFor(error);
      }
    };
  });
}
