// @ts-check
/** One mono recording in the browser's memory, as 16-bit WAV. */

import { toPcm16 } from "../client/codecs.js";

const MAX_S = 3600;
const GATHER_S = 10;

export class Recording {
  /** @param {number} rate Hz */
  constructor(rate) {
    this.rate = rate;
    this.length = 0;
    /** @type {BlobPart[]} */
    this._parts = [];
    /** @type {ArrayBuffer[]} */
    this._fresh = [];
    this._freshLength = 0;
  }

  get seconds() {
    return this.length / this.rate;
  }

  /** Whether no more is taken. */
  get full() {
    return this.seconds >= MAX_S;
  }

  /** @param {Float32Array} samples */
  add(samples) {
    if (this.full) return;
    this._fresh.push(toPcm16(samples));
    this.length += samples.length;
    this._freshLength += samples.length;
    if (this._freshLength > GATHER_S * this.rate) this._gather();
  }

  /** Silence up to `seconds`, so that what follows stands at its place. @param {number} seconds */
  padTo(seconds) {
    const missing = Math.round(seconds * this.rate) - this.length;
    if (missing > 0) this.add(new Float32Array(missing));
  }

  /** @returns {Blob} */
  wav() {
    this._gather();
    return new Blob([wavHeader(this.rate, this.length), ...this._parts], { type: "audio/wav" });
  }

  /** A browser may keep blobs on disk. */
  _gather() {
    if (this._fresh.length > 0) this._parts.push(new Blob(this._fresh));
    this._fresh = [];
    this._freshLength = 0;
  }
}

/**
 * @param {number} rate
 * @param {number} length
 */
function wavHeader(rate, length) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (/** @type {number} */ at, /** @type {string} */ word) =>
    [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + length * 2, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 2, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, length * 2, true);
  return view.buffer;
}
