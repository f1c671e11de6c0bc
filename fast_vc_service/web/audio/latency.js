// @ts-check
/**
 * Mouth to ear, measured while it runs: when a place of the stream left the loudspeaker minus when
 * it came into the microphone, both on the audio clock, plus what the browser reports of the
 * devices. All times in seconds.
 */

const SHOWN_OVER = 20;

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

export class LatencyMeter {
  /**
   * @param {{blockS: number, delayS: number, startedAt: number}} stream what the service declares,
   *   and the audio clock at the stream's first sample
   */
  constructor({ blockS, delayS, startedAt }) {
    this._blockS = blockS;
    this._delayS = delayS;
    this._startedAt = startedAt;
    /** @type {number[]} */
    this._totals = [];
    /** @type {number[]} */
    this._ways = [];
    this._burst = { at: -Infinity, wayS: Infinity };
  }

  /**
   * Output up to `untilS` of the stream has come.
   * @param {number} untilS
   * @param {number} at
   */
  arrived(untilS, at) {
    // The input that this output needed at the latest came in at its end plus the delay.
    const wayS = at - (this._startedAt + untilS + this._delayS);
    if (at - this._burst.at > this._blockS / 4) {
      if (Number.isFinite(this._burst.wayS)) push(this._ways, this._burst.wayS);
      this._burst = { at, wayS };
    } else {
      this._burst.wayS = Math.min(this._burst.wayS, wayS);
    }
  }

  /**
   * The place `positionS` of the stream is played.
   * @param {number} positionS
   * @param {number} at
   */
  played(positionS, at) {
    push(this._totals, at - (this._startedAt + positionS));
  }

  /**
   * Total and its parts; null before anything was played.
   * @param {{inputS: number, outputS: number}} devices
   */
  read({ inputS, outputS }) {
    if (this._totals.length === 0 || this._ways.length === 0) return null;
    const core = median(this._totals);
    const way = Math.max(0, median(this._ways));
    const buffer = Math.max(0, core - this._blockS - this._delayS - way);
    return {
      totalS: inputS + core + outputS,
      parts: {
        input: inputS,
        block: this._blockS,
        model: this._delayS,
        way,
        buffer,
        output: outputS,
      },
    };
  }
}

/** @param {number[]} values @param {number} value */
function push(values, value) {
  values.push(value);
  if (values.length > SHOWN_OVER) values.shift();
}
