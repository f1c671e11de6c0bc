// @ts-check
/**
 * Plays a stream that arrives unevenly at an even pace.
 *
 * A place `p` of the stream is played at time `p + lag`. How large the lag must be is learnt from
 * the arrivals of the last seconds; the buffer moves towards it by playing up to 0.8 % faster or
 * slower, which nobody hears. When it runs dry it fades out, waits until it can go on, and fades
 * in. Nothing is dropped unless the lag has grown by more than half a second too large.
 */

import { Resampler } from "./resampler.js";

const WINDOW_S = 8;
const START_MARGIN_S = 0.04;
const SETTLED_AFTER_S = 2;
const MARGIN_S = 0.015;
const FADE_S = 0.005;
const DEAD_BAND_S = 0.008;
const MAX_SPEED_CHANGE = 0.008;
const TOO_LATE_S = 0.5;

export class JitterBuffer {
  /**
   * @param {number} rateIn Hz of the stream
   * @param {number} rateOut Hz of the output
   * @param {number} [headStartS] how much later than the first piece the others are to be expected
   */
  constructor(rateIn, rateOut, headStartS = 0) {
    this._headStartS = headStartS;
    this._rateIn = rateIn;
    this._rateOut = rateOut;
    this._resampler = new Resampler(rateIn, rateOut);
    this._gain = 0;
    this._fadeStep = 1 / (FADE_S * rateOut);
    /** @type {{at: number, lag: number}[]} Falling lags: the first is the window's largest. */
    this._arrivals = [];
    this._firstAt = 0;
    this._lastAt = 0;
    this._ending = false;
    /** @type {"empty" | "filling" | "playing" | "ended"} */
    this.state = "empty";
    this.speed = 1;
    /** Times that it ran dry. */
    this.underruns = 0;
    /** Seconds of the stream that were left out to catch up. */
    this.skippedS = 0;
  }

  /** Place of the stream that is played next, in seconds. */
  get positionS() {
    return this._resampler.position / this._rateIn;
  }

  /** Seconds of the stream that wait to be played. */
  get bufferedS() {
    return Math.max(0, this._resampler.pushed - this._resampler.position) / this._rateIn;
  }

  /** Seconds between a place of the stream and its playing that the arrivals ask for. */
  get wantedLagS() {
    const seen = this._arrivals[0]?.lag ?? 0;
    if (this._lastAt - this._firstAt > SETTLED_AFTER_S) return seen + MARGIN_S;
    return Math.max(seen, this._firstAt + this._headStartS) + START_MARGIN_S;
  }

  /**
   * @param {Float32Array} samples the stream's next ones
   * @param {number} now seconds
   */
  add(samples, now) {
    if (this.state === "empty") {
      this.state = "filling";
      this._firstAt = now;
    }
    this._lastAt = now;
    const lag = now - this._resampler.pushed / this._rateIn;
    while (this._arrivals.length > 0 && this._arrivals[this._arrivals.length - 1].lag <= lag) {
      this._arrivals.pop();
    }
    this._arrivals.push({ at: now, lag });
    while (this._arrivals[0].at < now - WINDOW_S) this._arrivals.shift();
    this._resampler.push(samples);
  }

  /** No more follows: what is left is played to its end. */
  end() {
    if (this._ending) return;
    this._ending = true;
    this._resampler.push(new Float32Array(this._resampler.reach));
    if (this.state === "empty") this.state = "ended";
  }

  /**
   * Fill `out` for the time `now`.
   * @param {Float32Array} out
   * @param {number} now seconds
   */
  render(out, now) {
    out.fill(0);
    if (this.state === "filling") this._maybeStart(out.length, now);
    if (this.state !== "playing") return;
    this._steer(now);
    const spare = this._resampler.available - out.length;
    const dry = !this._ending && spare < FADE_S * this._rateOut * 1.1;
    const late = !this._ending && now - this.positionS > this.wantedLagS + TOO_LATE_S;
    const count = this._resampler.pull(out, this.speed);
    const target = dry || late ? 0 : 1;
    for (let i = 0; i < count; i++) {
      const step = Math.sign(target - this._gain) * this._fadeStep;
      this._gain = Math.min(1, Math.max(0, this._gain + step));
      out[i] *= this._gain;
    }
    if (count < out.length && this._ending) {
      this.state = "ended";
    } else if (dry && this._gain === 0) {
      this.state = "filling";
      this.underruns += 1;
    } else if (late && this._gain === 0) {
      this._catchUp(now);
    }
  }

  /**
   * @param {number} length of the output, in samples
   * @param {number} now
   */
  _maybeStart(length, now) {
    const enough = this._resampler.available > length + 2 * FADE_S * this._rateOut;
    if (this._ending || (enough && now - this.positionS >= this.wantedLagS)) {
      this.state = "playing";
      this._gain = 0;
    }
  }

  /** @param {number} now */
  _steer(now) {
    const surplus = now - this.positionS - this.wantedLagS;
    const wish = Math.abs(surplus) < DEAD_BAND_S || this._ending ? 0 : surplus * 0.1;
    const change = Math.min(MAX_SPEED_CHANGE, Math.max(-MAX_SPEED_CHANGE, wish));
    // Smoothed, so that the pitch does not jump.
    this.speed += (1 + change - this.speed) * 0.02;
  }

  /** @param {number} now */
  _catchUp(now) {
    const surplus = now - this.positionS - this.wantedLagS;
    const jump = Math.min(surplus, this.bufferedS - 4 * FADE_S);
    if (jump <= 0) return;
    this._resampler.position += Math.floor(jump * this._rateIn);
    this.skippedS += jump;
  }
}
