// @ts-check
/** Plays the converted stream through the jitter buffer and reports how it goes. */

import { JitterBuffer } from "./jitter-buffer.js";

const REPORT_S = 0.05;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    /** @type {JitterBuffer | null} */
    this._buffer = null;
    this._reportAt = 0;
    this._closed = false;
    this._ended = false;
    this.port.onmessage = ({ data }) => {
      if (data.type === "add") this._buffer?.add(data.samples, currentTime);
      else if (data.type === "end") this._buffer?.end();
      else if (data.type === "close") this._closed = true;
      else if (data.type === "start") {
        this._buffer = new JitterBuffer(data.rate, sampleRate, data.headStartS);
        this._ended = false;
      }
    };
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, outputs) {
    const buffer = this._buffer;
    if (buffer === null) return !this._closed;
    const positionS = buffer.positionS;
    const playing = buffer.state === "playing";
    buffer.render(outputs[0][0], currentTime);
    for (const channel of outputs[0].slice(1)) channel.set(outputs[0][0]);
    const ended = buffer.state === "ended" && !this._ended;
    if (ended || currentTime >= this._reportAt) {
      this._ended = buffer.state === "ended";
      this._reportAt = currentTime + REPORT_S;
      this.port.postMessage({
        at: currentTime,
        positionS,
        playing,
        state: buffer.state,
        bufferedS: buffer.bufferedS,
        speed: buffer.speed,
        underruns: buffer.underruns,
        skippedS: buffer.skippedS,
      });
    }
    return true;
  }
}

registerProcessor("playback", Playback);
