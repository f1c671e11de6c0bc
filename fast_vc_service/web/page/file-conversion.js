// @ts-check
/** Converts a whole recording at once, faster than it is spoken. Needs no secure context. */

import { readMono } from "../audio/recorded.js";
import { Recording } from "../audio/recording.js";
import { REGISTER_RATE, medianF0 } from "../audio/register.js";
import { convert } from "../client/client.js";

/**
 * @param {ArrayBuffer} file any audio file the browser reads
 * @param {import("../client/client.d.ts").ClientOptions & {url: string}} options
 * @param {(share: number) => void} onProgress
 * @returns {Promise<{input: Recording, output: Recording,
 *   stats: import("../client/client.d.ts").Stats}>}
 * @throws {DOMException} The file is no audio.
 */
export async function convertFile(file, { url, ...options }, onProgress) {
  const samples = await readMono(file);
  const { samples: converted, sampleRate, stats } = await convert(url, samples, {
    ...options,
    sampleRate: REGISTER_RATE,
    // The whole file is there: its register is right from the first word.
    sourceF0Hz: (await medianF0(samples)) ?? undefined,
    onProgress,
  });
  const input = new Recording(REGISTER_RATE);
  const output = new Recording(sampleRate);
  input.add(samples);
  output.add(converted);
  return { input, output, stats };
}
