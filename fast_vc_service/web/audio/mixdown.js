// @ts-check
/**
 * Two channels to one, so that speech survives: the same speech in both (at any delay up to 10 ms,
 * in either phase) comes from the louder one, different speech is added, and what never rises
 * above its own floor is left out. What was heard so far decides, nothing is delayed, and a
 * decision that changes is cross-faded. The service does the same with stereo packets
 * (`audio/live_mixdown.py`).
 */

import { HighPass } from "./high-pass.js";

const FADE_S = 0.05;
const FRAME_S = 0.02;
const BAND_HZ = 8000;
const LONGEST_DELAY_S = 0.01;
const PREEMPHASIS = 0.95;
/** Frames over which loudness is compared. */
const RECENT = 5;
/** Frames from which a channel's floor and the level of its speech are known. */
const REMEMBERED = 250;
/** Frames that sound must last to count in full. */
const A_WORD = 25;
/** First frames that are forgotten once there are others: the filter rings in mid-hum. */
const SETTLING = 5;
const FORGETTING = Math.exp(-FRAME_S / 1.5);
const ABOVE_FLOOR = 4;
const FLOOR_SHARE = 0.1;
const STEADY = 1e-3;
const FAINT = 1e-2;
const LOUDER = 4;
const PLAINLY_LOUDER = 1.26;
const LEAST_SUM_GAIN = 0.84;
const SAME_SPEECH = 0.6;
const STILL_SAME = 0.5;
const OPPOSED = 0.3;
/** Correlation and number of frames that tell a phase which has changed. */
const PLAIN = 0.9;
const TURNED = 3;
const UNHEARD = 1e-12;
const NOTICEABLE = 0.02;

export class Mixdown {
  /** @param {number} rate Hz */
  constructor(rate) {
    this._filters = [new HighPass(rate), new HighPass(rate)];
    this._every = Math.max(1, Math.floor(rate / BAND_HZ));
    this._frame = Math.round((FRAME_S * rate) / this._every);
    this._lags = Math.round((LONGEST_DELAY_S * rate) / this._every);
    // The newest frame of both channels, and as much before it as they may lie apart.
    this._band = [0, 1].map(() => new Float64Array(this._frame + this._lags));
    this._filled = 0;
    this._sums = [0, 0];
    this._summed = 0;
    this._last = [0, 0];
    /** @type {number[][]} */
    this._power = [[], []];
    this._frames = 0;
    this._opposed = 0;
    this._correlation = new Float64Array(2 * this._lags + 1);
    this._energy = [0, 0];
    this._partial = { energy: [0, 0], product: 0, count: 0 };

    this._fade = Math.max(1, Math.round(FADE_S * rate));
    this._left = 0;
    this._decided = false;
    this._same = true;
    this._chosen = 0;
    this._signs = [1, 1];
    this._from = [1, 0];
    this._gains = [1, 0];
  }

  /**
   * Mix the next samples of both channels.
   * @param {Float32Array} left
   * @param {Float32Array} right as long
   * @returns {Float32Array} as long, within [-1, 1]
   */
  push(left, right) {
    const changed = this._hear(left, right);
    if (changed || this._frames === 0) this._decide();
    const mixed = new Float32Array(left.length);
    for (let i = 0; i < left.length; i++) {
      this._left = Math.max(0, this._left - 1);
      const part = this._left / this._fade;
      const one = this._gains[0] + (this._from[0] - this._gains[0]) * part;
      const other = this._gains[1] + (this._from[1] - this._gains[1]) * part;
      mixed[i] = Math.max(-1, Math.min(1, one * left[i] + other * right[i]));
    }
    return mixed;
  }

  /** Take the samples in; true when a frame became whole. @returns {boolean} */
  _hear(/** @type {Float32Array} */ left, /** @type {Float32Array} */ right) {
    let whole = false;
    const offset = this._lags;
    for (let i = 0; i < left.length; i++) {
      this._sums[0] += this._filters[0].next(left[i]);
      this._sums[1] += this._filters[1].next(right[i]);
      if (++this._summed < this._every) continue;
      const now = this._sums.map((sum) => sum / this._every);
      this._sums = [0, 0];
      this._summed = 0;
      if (this._frames === 0) {
        this._partial.energy[0] += now[0] ** 2;
        this._partial.energy[1] += now[1] ** 2;
        this._partial.product += now[0] * now[1];
        this._partial.count += 1;
      }
      for (const channel of [0, 1]) {
        this._band[channel][offset + this._filled] = now[channel] - PREEMPHASIS * this._last[channel];
      }
      this._last = now;
      if (++this._filled < this._frame) continue;
      this._measure();
      this._filled = 0;
      whole = true;
    }
    return whole;
  }

  /** Measure the frame that is whole. */
  _measure() {
    const [one, other] = this._band;
    const { _lags: lags, _frame: frame } = this;
    const size = one.length;
    const energies = [0, 0];
    for (const channel of [0, 1]) {
      let energy = 0;
      for (let i = lags; i < size; i++) energy += this._band[channel][i] ** 2;
      energies[channel] = energy;
      this._power[channel].push(energy / frame);
      if (this._power[channel].length > REMEMBERED) this._power[channel].shift();
    }
    if (this._isTurnedRound()) {
      this._correlation.fill(0);
      this._energy = [0, 0];
    }
    for (const channel of [0, 1]) {
      this._energy[channel] = FORGETTING * this._energy[channel] + energies[channel];
    }
    for (let lag = 0; lag <= lags; lag++) {
      let behind = 0;
      let ahead = 0;
      for (let i = lags; i < size; i++) {
        behind += one[i] * other[i - lag];
        ahead += one[i - lag] * other[i];
      }
      const at = this._correlation;
      at[lags - lag] = FORGETTING * at[lags - lag] + behind;
      if (lag > 0) at[lags + lag] = FORGETTING * at[lags + lag] + ahead;
    }
    for (const band of this._band) band.copyWithin(0, frame, size);
    this._frames += 1;
    if (this._frames === 3 * SETTLING) {
      for (const power of this._power) power.splice(0, SETTLING);
    }
  }

  /** Whether the phase between the channels is no longer what is remembered of it. */
  _isTurnedRound() {
    const [one, other] = this._band;
    let [product, energy, otherEnergy] = [0, 0, 0];
    for (let i = this._lags; i < one.length; i++) {
      product += one[i] * other[i];
      energy += one[i] ** 2;
      otherEnergy += other[i] ** 2;
    }
    const alike = product ** 2 > PLAIN ** 2 * energy * otherEnergy;
    const opposed = alike && product * this._correlation[this._lags] < 0;
    this._opposed = opposed ? this._opposed + 1 : 0;
    return this._opposed >= TURNED;
  }

  _decide() {
    const heard = this._frames > 0 ? this._measured() : this._begun();
    if (heard === null) return;
    const signs = this._signs;
    const limit = this._same ? STILL_SAME : SAME_SPEECH;
    this._same = Math.abs(heard.likeness) >= limit || heard.deaf;
    const alignment = this._same && !heard.deaf ? heard.likeness : heard.sideBySide;
    if (alignment * signs[0] * signs[1] < -OPPOSED) {
      const lesser = Math.abs(this._gains[0]) <= Math.abs(this._gains[1]) ? 0 : 1;
      signs[lesser] *= -1;
    }
    const { speech } = heard;
    const louder = speech[0] >= speech[1] ? 0 : 1;
    if (speech[1 - louder] <= FAINT * speech[louder]) {
      this._chosen = louder;
      this._goTo(only(louder, signs));
    } else if (this._same) {
      this._choose(heard, louder);
      this._goTo(only(this._chosen, signs));
    } else {
      const total = (speech[0] + speech[1]) / speech[louder];
      const alike = Math.max(-OPPOSED, heard.sideBySide * signs[0] * signs[1]);
      const gain = Math.max(LEAST_SUM_GAIN, 1 / Math.sqrt(total)) / Math.sqrt(1 + alike);
      this._goTo(signs.map((sign) => Math.min(1, gain) * sign));
    }
  }

  /**
   * Take the channel with more speech; another only while it is much louder just then.
   * @param {{speech: number[], recent: number[]}} heard
   * @param {number} louder
   */
  _choose({ speech, recent }, louder) {
    const now = this._chosen;
    const other = 1 - now;
    const inAll = other === louder && speech[other] > PLAINLY_LOUDER * speech[now];
    if (recent[other] > LOUDER * recent[now] || (inAll && recent[other] >= recent[now])) {
      this._chosen = other;
    }
  }

  /** @param {number[]} wanted */
  _goTo(wanted) {
    if (!this._decided) {
      this._decided = true;
      this._from = this._gains = wanted;
    } else if (wanted.some((gain, i) => Math.abs(gain - this._gains[i]) > NOTICEABLE)) {
      const part = this._left / this._fade;
      this._from = this._gains.map((gain, i) => gain + (this._from[i] - gain) * part);
      this._gains = wanted;
      this._left = this._fade;
    }
  }

  /** What all whole frames say. */
  _measured() {
    if (this._energy[0] + this._energy[1] === 0) return null;
    const loudness = this._power.map(speechOf);
    const scale = Math.sqrt(this._energy[0] * this._energy[1]) + 1e-20;
    let likeness = 0;
    for (const value of this._correlation) {
      if (Math.abs(value) > Math.abs(likeness)) likeness = value;
    }
    return {
      speech: loudness,
      recent: this._power.map((power) => mean(power.slice(-RECENT))),
      likeness: likeness / scale,
      sideBySide: this._correlation[this._lags] / scale,
      deaf: Math.min(...this._energy) < UNHEARD,
    };
  }

  /** What less than a frame says. */
  _begun() {
    const { energy, product, count } = this._partial;
    if (energy[0] + energy[1] === 0) return null;
    const power = energy.map((sum) => sum / count);
    const likeness = product / (Math.sqrt(energy[0] * energy[1]) + 1e-20);
    const deaf = Math.min(...energy) < UNHEARD;
    return { speech: power, recent: power, likeness, sideBySide: likeness, deaf };
  }
}

/** Power of what rises above its own floor; what is steady counts for 30 dB less. */
function speechOf(/** @type {number[]} */ power) {
  const sorted = Float64Array.from(power).sort();
  const floor = sorted[Math.floor(FLOOR_SHARE * (sorted.length - 1))];
  const rising = power.filter((value) => value > ABOVE_FLOOR * floor);
  const newest = power[power.length - 1];
  const speech = rising.reduce((sum, value) => sum + value, 0) / Math.max(rising.length, A_WORD);
  return Math.max(speech, newest > ABOVE_FLOOR * floor ? newest : 0, STEADY * mean(power));
}

/** @param {number[]} values */
function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** @param {number} channel @param {number[]} signs */
function only(channel, signs) {
  return [0, 1].map((each) => (each === channel ? signs[channel] : 0));
}
