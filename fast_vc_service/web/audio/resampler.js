// @ts-check
/**
 * One continuous resampler between any two rates: a Kaiser-windowed sinc whose phase moves on
 * from call to call, and whose speed may change by a little while it runs.
 */

const ZERO_CROSSINGS = 16;
const STEPS = 256;
const KAISER_BETA = 9;
const BANDWIDTH = 0.94;
const COMPACT_AT = 16384;

export class Resampler {
  /**
   * @param {number} rateIn Hz
   * @param {number} rateOut Hz
   */
  constructor(rateIn, rateOut) {
    this.ratio = rateIn / rateOut;
    this._cutoff = BANDWIDTH * Math.min(1, rateOut / rateIn);
    /** Input samples that an output sample looks ahead. */
    this.reach = Math.ceil(ZERO_CROSSINGS / this._cutoff);
    this._table = kernel();
    // Zeros stand for the time before the first sample.
    this._buffer = new Float32Array(COMPACT_AT * 2);
    this._filled = this.reach;
    this._first = -this.reach;
    /** Place of the next output sample, in input samples from the first one. */
    this.position = 0;
  }

  /** Input samples pushed so far. */
  get pushed() {
    return this._first + this._filled;
  }

  /** @param {Float32Array} samples */
  push(samples) {
    if (this._filled + samples.length > this._buffer.length) this._makeRoom(samples.length);
    this._buffer.set(samples, this._filled);
    this._filled += samples.length;
  }

  /** Output samples that can be pulled now at speed 1. */
  get available() {
    const inputs = this.pushed - this.reach - this.position;
    return inputs <= 0 ? 0 : Math.ceil(inputs / this.ratio);
  }

  /**
   * Fill `out` as far as the input reaches; returns how many samples that were.
   * @param {Float32Array} out
   * @param {number} [speed] above 1 plays faster
   */
  pull(out, speed = 1) {
    const step = this.ratio * speed;
    const last = this.pushed - this.reach;
    let count = 0;
    while (count < out.length && this.position < last) {
      out[count++] = this._at(this.position);
      this.position += step;
    }
    return count;
  }

  /**
   * Everything that can be pulled now.
   * @returns {Float32Array}
   */
  pullAll() {
    const out = new Float32Array(this.available);
    return out.subarray(0, this.pull(out));
  }

  /** @param {number} position */
  _at(position) {
    const centre = Math.floor(position);
    const cutoff = this._cutoff;
    const from = centre - this.reach + 1;
    const to = centre + this.reach;
    let index = from - this._first;
    let sum = 0;
    for (let n = from; n <= to; n++, index++) {
      const at = Math.abs(n - position) * cutoff * STEPS;
      const low = Math.floor(at);
      if (low + 1 >= this._table.length) continue;
      const part = at - low;
      const weight = this._table[low] + part * (this._table[low + 1] - this._table[low]);
      sum += weight * this._buffer[index];
    }
    return sum * cutoff;
  }

  /** @param {number} count */
  _makeRoom(count) {
    const unused = Math.floor(this.position) - this.reach - this._first;
    const kept = this._filled - unused;
    if (kept + count > this._buffer.length) {
      const larger = new Float32Array((kept + count) * 2);
      larger.set(this._buffer.subarray(unused, this._filled));
      this._buffer = larger;
    } else {
      this._buffer.copyWithin(0, unused, this._filled);
    }
    this._first += unused;
    this._filled = kept;
  }
}

/** One side of the kernel, `STEPS` values a zero crossing. */
function kernel() {
  const table = new Float32Array(ZERO_CROSSINGS * STEPS + 1);
  const peak = bessel(KAISER_BETA);
  for (let i = 0; i < table.length; i++) {
    const x = i / STEPS;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    const edge = x / ZERO_CROSSINGS;
    table[i] = (sinc * bessel(KAISER_BETA * Math.sqrt(Math.max(0, 1 - edge * edge)))) / peak;
  }
  return table;
}

/** Modified Bessel function of the first kind, order 0. @param {number} x */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; k < 40; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
