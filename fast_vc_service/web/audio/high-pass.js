// @ts-check
/** A high-pass that leaves nothing of what lies below speech: what listens must not hear it. */

const CUTOFF_HZ = 80;
/** Of a Butterworth filter of order 6. */
const QUALITIES = [0.51763809, 0.70710678, 1.93185165];

export class HighPass {
  /** @param {number} rate Hz */
  constructor(rate) {
    const omega = (2 * Math.PI * CUTOFF_HZ) / rate;
    this._sections = QUALITIES.map((q) => {
      const alpha = Math.sin(omega) / (2 * q);
      const a0 = 1 + alpha;
      return {
        b0: (1 + Math.cos(omega)) / 2 / a0,
        a1: (-2 * Math.cos(omega)) / a0,
        a2: (1 - alpha) / a0,
        x1: 0,
        x2: 0,
        y1: 0,
        y2: 0,
      };
    });
    this._begun = false;
  }

  /** The next sample. @param {number} x */
  next(x) {
    if (!this._begun) {
      // As if the first sample had always been there: an offset makes no step.
      this._begun = true;
      this._sections[0].x1 = this._sections[0].x2 = x;
    }
    let value = x;
    for (const s of this._sections) {
      const y = s.b0 * (value - 2 * s.x1 + s.x2) - s.a1 * s.y1 - s.a2 * s.y2;
      s.x2 = s.x1;
      s.x1 = value;
      s.y2 = s.y1;
      s.y1 = y;
      value = y;
    }
    return value;
  }
}
