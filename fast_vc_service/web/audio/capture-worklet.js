// @ts-check
/**
 * Takes what is spoken, mixes two channels down to one, brings that to the stream's rate and hands
 * it on in frames of 20 ms. Its output is the one channel at the context's rate.
 */

import { Mixdown } from "./mixdown.js";
import { Resampler } from "./resampler.js";

const FRAME_S = 0.02;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    /** @type {Resampler | null} */
    this._resampler = null;
    this._mixdown = new Mixdown(sampleRate);
    this._frame = new Float32Array(0);
    this._filled = 0;
    this._size = 0;
    this._begun = false;
    this._closed = false;
    this.port.onmessage = ({ data }) => {
      if (data.type === "start") this._start(data.rate);
      else if (data.type === "stop") this._stop();
      else if (data.type === "close") this._closed = true;
    };
  }

  /** @param {number} rate Hz */
  _start(rate) {
    this._resampler = new Resampler(sampleRate, rate);
    this._size = Math.round(FRAME_S * rate);
    this._frame = new Float32Array(this._size);
    this._filled = 0;
    this._begun = false;
  }

  _stop() {
    if (this._resampler !== null && this._filled > 0) {
      this.port.postMessage({ type: "samples", samples: this._frame.slice(0, this._filled) });
    }
    this._resampler = null;
    this.port.postMessage({ type: "stopped" });
  }

  /**
   * @param {Float32Array[][]} inputs
   * @param {Float32Array[][]} outputs
   */
  process(inputs, outputs) {
    const [left, right] = inputs[0] ?? [];
    // A source that is silent or gone still lasts: its time counts.
    const mono = right ? this._mixdown.push(left, right) : (left ?? new Float32Array(128));
    outputs[0][0].set(mono);
    const resampler = this._resampler;
    if (resampler === null) return !this._closed;
    if (!this._begun) {
      this._begun = true;
      this.port.postMessage({ type: "started", at: currentFrame / sampleRate });
    }
    resampler.push(mono);
    const samples = resampler.pullAll();
    let taken = 0;
    while (taken < samples.length) {
      const count = Math.min(samples.length - taken, this._frame.length - this._filled);
      this._frame.set(samples.subarray(taken, taken + count), this._filled);
      taken += count;
      this._filled += count;
      if (this._filled === this._frame.length) {
        const full = this._frame;
        this.port.postMessage({ type: "samples", samples: full }, [full.buffer]);
        this._frame = new Float32Array(this._size);
        this._filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
