// @ts-check
/** A recording as one channel at the rate that the service hears. */

import { Mixdown } from "./mixdown.js";
import { REGISTER_RATE } from "./register.js";

/**
 * @param {ArrayBuffer} file any audio file the browser reads
 * @returns {Promise<Float32Array>} mono at `REGISTER_RATE`
 * @throws {DOMException} The file is no audio.
 */
export async function readMono(file) {
  // An offline context of that rate resamples what it decodes.
  const context = new OfflineAudioContext(1, 1, REGISTER_RATE);
  const buffer = await context.decodeAudioData(file.slice(0));
  let mono = buffer.getChannelData(0);
  for (let channel = 1; channel < buffer.numberOfChannels; channel++) {
    mono = mixed(mono, buffer.getChannelData(channel));
  }
  return mono;
}

/** @param {Float32Array} left @param {Float32Array} right as long */
function mixed(left, right) {
  const mixdown = new Mixdown(REGISTER_RATE);
  const out = new Float32Array(left.length);
  const step = REGISTER_RATE / 50;
  for (let start = 0; start < left.length; start += step) {
    const piece = [left, right].map((samples) => samples.subarray(start, start + step));
    out.set(mixdown.push(piece[0], piece[1]), start);
  }
  return out;
}
