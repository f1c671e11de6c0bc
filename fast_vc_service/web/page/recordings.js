// @ts-check
/** Both recordings of the last conversation: to hear and to keep. */

import { byId } from "./dom.js";

/** @type {string[]} */
let addresses = [];

/**
 * @param {import("../audio/recording.js").Recording} input
 * @param {import("../audio/recording.js").Recording} output
 * @param {string} voice
 */
export function showRecordings(input, output, voice) {
  for (const address of addresses) URL.revokeObjectURL(address);
  const stamp = new Date().toISOString().slice(0, 19).replace(/[:T]/g, "-");
  addresses = [
    show("input", input, `${stamp}-own.wav`),
    show("output", output, `${stamp}-${voice.replace(/[^\p{L}\p{N}._-]+/gu, "-") || "converted"}.wav`),
  ];
  byId("recordings").hidden = false;
}

/**
 * @param {"input" | "output"} side
 * @param {import("../audio/recording.js").Recording} recording
 * @param {string} name
 */
function show(side, recording, name) {
  const address = URL.createObjectURL(recording.wav());
  byId(`${side}-audio`).src = address;
  byId(`${side}-download`).href = address;
  byId(`${side}-download`).download = name;
  return address;
}
