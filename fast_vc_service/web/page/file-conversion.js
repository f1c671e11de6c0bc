// @ts-check
/** Converts a whole recording at once, faster than it is spoken. Needs no secure context. */

import { Recording } from "../audio/recording.js";
import { convert } from "../client/client.js";

const RATE_IN = 16000;

/**
 * @param {ArrayBuffer} file any audio file the browser reads
 * @param {import("../client/client.d.ts").ClientOptions & {url: string}} options
 * @param {(share: number) => void} onProgress
 * @returns {Promise<{input: Recording, output: Recording,
 *   stats: import("../client/client.d.ts").Stats}>}
 * @throws {DOMException} The file is no audio.
 */
export async function convertFile(file, { url, ...options }, onProgress) {
  // An offline context of that rate resamples what it decodes.
  const context = new OfflineAudioContext(1, 1, RATE_IN);
  const samples = toMono(await context.decodeAudioData(file.slice(0)));
  const { samples: converted, sampleRate, stats } = await convert(url, samples, {
    ...options,
    sampleRate: RATE_IN,
    onProgress,
  });
  const input = new Recording(RATE_IN);
  const output = new Recording(sampleRate);
  input.add(samples);
  output.add(converted);
  return { input, output, stats };
}

/** @param {AudioBuffer} buffer */
function toMono(buffer) {
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let i = 0; i < mono.length; i++) mono[i] += samples[i] / buffer.numberOfChannels;
  }
  return mono;
}
