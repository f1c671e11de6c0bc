// @ts-check
/**
 * The register of a speaker from a recording, for whoever has it before it is converted. Within
 * half a semitone of what the service measures in files (`audio/f0.py`).
 */

import { HighPass } from "./high-pass.js";

/** Hz of what is measured. */
export const REGISTER_RATE = 16000;

const LONGEST_S = 600;
const ENOUGH_S = 60;
const LEAST_S = 0.5;
const PIECE_S = 10;
/** Above the hum of any mains. */
const FLOOR_HZ = 62;
const CEIL_HZ = 700;
const HOP_S = 0.01;
const SPAN_S = 0.025;
const LEAST_POWER = 10 ** -7.5;
/** 30 dB below the loudest voiced frame. */
const FAINT = 1e-3;
const LEAST_LIKENESS = 0.7;
/** A shorter period is taken when it repeats nearly as well. */
const NEARLY = 0.85;
const EVERY = 2;
/** Frames on either side that a frame has to agree with, and by how much (log F0). */
const STEADY_FRAMES = 2;
const STEADY = 0.1;

/** @typedef {{f0: number, power: number}} Frame */

/**
 * Median F0 in Hz of the voiced speech; null for less than half a second of it.
 * @param {Float32Array} samples mono at `REGISTER_RATE`
 * @returns {Promise<number | null>}
 */
export async function medianF0(samples) {
  const heard = filtered(samples.subarray(0, LONGEST_S * REGISTER_RATE));
  const rate = REGISTER_RATE / EVERY;
  const hop = Math.round(HOP_S * rate);
  const reach = Math.round(SPAN_S * rate) + Math.ceil(rate / FLOOR_HZ) + 2;
  /** @type {Frame[]} */
  const voiced = [];
  /** @type {(Frame | null)[]} */
  let newest = [];
  for (let start = 0; start + reach < heard.length; start += hop) {
    newest = [...newest.slice(-2 * STEADY_FRAMES), measure(heard, start, rate)];
    const middle = newest[STEADY_FRAMES];
    if (middle && isSteady(newest, middle)) voiced.push(middle);
    if (voiced.length * HOP_S >= ENOUGH_S) break;
    // The page stays alive meanwhile.
    if (start % (PIECE_S * rate) === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  const loudest = voiced.reduce((most, { power }) => Math.max(most, power), 0);
  const f0s = voiced.filter(({ power }) => power > FAINT * loudest).map(({ f0 }) => f0);
  if (f0s.length * HOP_S < LEAST_S) return null;
  f0s.sort((a, b) => a - b);
  const middle = f0s.length >> 1;
  return f0s.length % 2 ? f0s[middle] : Math.sqrt(f0s[middle - 1] * f0s[middle]);
}

/** Whether all frames around have nearly the same F0: creaks and chance finds have not. */
function isSteady(/** @type {(Frame | null)[]} */ frames, /** @type {Frame} */ middle) {
  return (
    frames.length > 2 * STEADY_FRAMES &&
    frames.every((frame) => frame !== null && Math.abs(Math.log(frame.f0 / middle.f0)) < STEADY)
  );
}

/** What lies below speech taken away, and what lies above its lower harmonics. */
function filtered(/** @type {Float32Array} */ samples) {
  const highPass = new HighPass(REGISTER_RATE);
  const out = new Float32Array(Math.floor(samples.length / EVERY));
  let low = 0;
  let lower = 0;
  for (let i = 0; i < out.length * EVERY; i++) {
    const value = highPass.next(samples[i]);
    low += LOW_PASS * (value - low);
    lower += LOW_PASS * (low - lower);
    if (i % EVERY === EVERY - 1) out[(i - EVERY + 1) / EVERY] = lower;
  }
  return out;
}

/** Of two poles at 1 kHz. */
const LOW_PASS = 1 - Math.exp((-2 * Math.PI * 1000) / REGISTER_RATE);

/**
 * F0 and power of the frame that begins at `start`; null where nothing repeats itself.
 * @param {Float32Array} heard
 * @param {number} start
 * @param {number} rate Hz
 * @returns {Frame | null}
 */
function measure(heard, start, rate) {
  const span = Math.round(SPAN_S * rate);
  const shortest = Math.floor(rate / CEIL_HZ);
  const longest = Math.ceil(rate / FLOOR_HZ);
  let energy = 0;
  for (let i = start; i < start + span; i++) energy += heard[i] ** 2;
  const power = energy / span;
  if (power < LEAST_POWER) return null;
  const likeness = new Float64Array(longest + 2);
  let later = energy;
  let best = 0;
  for (let lag = 1; lag <= longest + 1; lag++) {
    later += heard[start + span + lag - 1] ** 2 - heard[start + lag - 1] ** 2;
    if (lag < shortest - 1) continue;
    let product = 0;
    for (let i = start; i < start + span; i++) product += heard[i] * heard[i + lag];
    likeness[lag] = product / (Math.sqrt(energy * Math.max(later, 0)) + 1e-12);
    if (lag >= shortest && lag <= longest) best = Math.max(best, likeness[lag]);
  }
  if (best < LEAST_LIKENESS) return null;
  for (let lag = shortest; lag <= longest; lag++) {
    const [before, here, after] = likeness.subarray(lag - 1, lag + 2);
    if (here < NEARLY * best || here < before || here < after) continue;
    const bend = before - 2 * here + after;
    const offset = bend < 0 ? (before - after) / (2 * bend) : 0;
    return { f0: rate / (lag + offset), power };
  }
  return null;
}
