// @ts-check
/** Errors and hints, in a person's words, with a countdown where the page tries again. */

import { ServiceError } from "../client/errors.js";
import { byId } from "./dom.js";
import { text } from "./texts.js";

/** @type {ReturnType<typeof setInterval> | undefined} */
let countdown;
/** @type {{error: unknown, retryInS: number | null} | null} */
let current = null;

/** @param {{onRetry: () => void}} actions */
export function initNotice({ onRetry }) {
  byId("notice-close").onclick = hideNotice;
  byId("notice-retry").onclick = onRetry;
}

/**
 * @param {unknown} error a `ServiceError`, a `DOMException`, or anything thrown
 * @param {number | null} [retryInS] seconds until the page tries again by itself
 */
export function showNotice(error, retryInS = null) {
  clearInterval(countdown);
  current = { error, retryInS };
  const name = nameOf(error);
  byId("notice-title").textContent = text(`error_${name}`) ?? text("error_other");
  byId("notice-detail").textContent = detailOf(error, name);
  byId("notice-retry").hidden = retryInS === null;
  const hint = text(`hint_${name}`) ?? "";
  let left = Math.ceil(retryInS ?? 0);
  const tell = () => {
    const wait = retryInS === null ? "" : text("retryIn", { seconds: Math.max(0, left) });
    byId("notice-text").textContent = [hint, wait].filter(Boolean).join(" ");
    left -= 1;
  };
  tell();
  if (retryInS !== null) countdown = setInterval(tell, 1000);
  byId("notice").hidden = false;
}

export function hideNotice() {
  clearInterval(countdown);
  current = null;
  byId("notice").hidden = true;
}

/** Say it again, in the language of now. */
export function translateNotice() {
  if (current !== null) showNotice(current.error, current.retryInS);
}

/** One sentence for a place that has room for no more. @param {unknown} error */
export function sentenceFor(error) {
  const name = nameOf(error);
  const title = text(`error_${name}`) ?? text("error_other");
  return [title, detailOf(error, name)].filter(Boolean).join(": ");
}

/** @param {unknown} error */
function nameOf(error) {
  if (error instanceof ServiceError) return error.code;
  return error instanceof Error ? error.name : "other";
}

/** What the service itself said, where that tells more than the title. */
function detailOf(/** @type {unknown} */ error, /** @type {string} */ name) {
  if (error instanceof ServiceError) {
    const { expected, got, hint } = error.details;
    const told = [error.message, expected && `expected ${expected}`, got && `got ${got}`, hint];
    const silent = ["UNREACHABLE", "CONNECTION_LOST", "AUTH_FAILED"].includes(name);
    return silent ? "" : told.filter(Boolean).join("; ");
  }
  if (text(`error_${name}`)) return "";
  return error instanceof Error ? error.message : String(error);
}
