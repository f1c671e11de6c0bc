// @ts-check
/** One lane's scrolling picture: the waveform above, the spectrogram below, and the level. */

const PIXELS_PER_S = 56;
const LOW_HZ = 70;
const HIGH_HZ = 8000;
const WAVE_SHARE = 0.3;
const FLOOR_DB = -60;

export class Picture {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} meter
   */
  constructor(canvas, meter) {
    this._canvas = canvas;
    this._meter = meter;
    this._bar = /** @type {HTMLElement} */ (meter.firstElementChild);
    this._context = /** @type {CanvasRenderingContext2D} */ (
      canvas.getContext("2d", { alpha: false })
    );
    this._wave = new Float32Array(2048);
    this._bins = new Uint8Array(1024);
    this._owed = 0;
    this._shownDb = FLOOR_DB;
    this._saidAt = 0;
    this._scale = 1;
    this._ground = "";
    this._ink = "";
    this._colours = new Uint32Array(256);
    /** @type {[number, number][] | null} */
    this._rows = null;
    new ResizeObserver(() => this.fit()).observe(canvas);
    this.fit();
  }

  /** Take size and colours anew; what was drawn is gone. */
  fit() {
    const scale = Math.min(2, devicePixelRatio || 1);
    this._scale = scale;
    this._canvas.width = Math.max(1, Math.round(this._canvas.clientWidth * scale));
    this._canvas.height = Math.max(1, Math.round(this._canvas.clientHeight * scale));
    const style = getComputedStyle(this._canvas);
    this._ground = style.getPropertyValue("--ground").trim();
    this._ink = style.getPropertyValue("--ink").trim();
    this._colours = ramp(
      ["--ground", "--deep", "--ink", "--peak"].map((name) => style.getPropertyValue(name).trim()),
    );
    this._context.fillStyle = this._ground;
    this._context.fillRect(0, 0, this._canvas.width, this._canvas.height);
    this._rows = null;
  }

  /**
   * Move on by `seconds` and draw what `analyser` hears now.
   * @param {AnalyserNode} analyser
   * @param {number} seconds
   */
  draw(analyser, seconds) {
    analyser.getFloatTimeDomainData(this._wave);
    this._level(seconds);
    this._owed += seconds * PIXELS_PER_S * this._scale;
    const columns = Math.min(this._canvas.width, Math.floor(this._owed));
    if (columns === 0) return;
    this._owed -= columns;
    analyser.getByteFrequencyData(this._bins);
    const { width, height } = this._canvas;
    const context = this._context;
    context.drawImage(this._canvas, -columns, 0);
    const x = width - columns;
    context.fillStyle = this._ground;
    context.fillRect(x, 0, columns, height);
    const waveHeight = Math.round(height * WAVE_SHARE);
    this._drawWave(x, columns, waveHeight);
    this._drawSpectrum(x, columns, waveHeight, analyser);
  }

  /** Forget the level, keep the picture. */
  rest() {
    this._shownDb = FLOOR_DB;
    this._showLevel();
  }

  /** @param {number} x @param {number} columns @param {number} height */
  _drawWave(x, columns, height) {
    const middle = height / 2;
    const recent = this._wave.subarray(this._wave.length / 2);
    const context = this._context;
    context.fillStyle = this._ink;
    for (let column = 0; column < columns; column++) {
      const from = Math.floor((column * recent.length) / columns);
      const to = Math.floor(((column + 1) * recent.length) / columns);
      let low = 0;
      let high = 0;
      for (let i = from; i < to; i++) {
        low = Math.min(low, recent[i]);
        high = Math.max(high, recent[i]);
      }
      // Speech is quiet most of the time: the root shows it without hiding the peaks.
      const up = Math.sqrt(Math.min(1, high)) * middle;
      const down = Math.sqrt(Math.min(1, -low)) * middle;
      context.fillRect(x + column, middle - up, 1, Math.max(this._scale, up + down));
    }
  }

  /**
   * @param {number} x
   * @param {number} columns
   * @param {number} top
   * @param {AnalyserNode} analyser
   */
  _drawSpectrum(x, columns, top, analyser) {
    const height = this._canvas.height - top;
    this._rows ??= binsOfRows(height, analyser.context.sampleRate, this._bins.length);
    const image = this._context.createImageData(columns, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0; row < height; row++) {
      const [from, to] = this._rows[row];
      let peak = 0;
      for (let bin = from; bin <= to; bin++) peak = Math.max(peak, this._bins[bin]);
      pixels.fill(this._colours[peak], row * columns, (row + 1) * columns);
    }
    this._context.putImageData(image, x, top);
  }

  /** @param {number} seconds */
  _level(seconds) {
    let peak = 0;
    for (const sample of this._wave) peak = Math.max(peak, Math.abs(sample));
    const db = Math.max(FLOOR_DB, 20 * Math.log10(peak || 1e-9));
    this._shownDb = Math.max(db, this._shownDb - 30 * seconds);
    this._showLevel();
  }

  _showLevel() {
    const share = 1 - this._shownDb / FLOOR_DB;
    this._bar.style.setProperty("--share", share.toFixed(3));
    this._meter.classList.toggle("hot", this._shownDb > -1);
    // Screen readers follow changes of the value: twice a second is often enough.
    if (performance.now() - this._saidAt > 500) {
      this._saidAt = performance.now();
      this._meter.setAttribute("aria-valuenow", this._shownDb.toFixed(0));
    }
  }
}

/**
 * First and last frequency bin of each pixel row, on a scale that is linear below 1 kHz and
 * logarithmic above, as hearing nearly is.
 * @param {number} height
 * @param {number} rate
 * @param {number} bins
 * @returns {[number, number][]}
 */
function binsOfRows(height, rate, bins) {
  const mel = (/** @type {number} */ hz) => Math.log1p(hz / 700);
  const hertz = (/** @type {number} */ m) => 700 * Math.expm1(m);
  const low = mel(LOW_HZ);
  const span = mel(Math.min(HIGH_HZ, rate / 2)) - low;
  const bin = (/** @type {number} */ share) =>
    Math.min(bins - 1, Math.round((hertz(low + span * share) / (rate / 2)) * bins));
  return Array.from({ length: height }, (_, row) => {
    const from = bin(1 - (row + 1) / height);
    return [from, Math.max(from, bin(1 - row / height) - 1)];
  });
}

/** 256 colours through the given ones, as pixels. @param {string[]} stops `#rrggbb` */
function ramp(stops) {
  const colours = stops.map((stop) =>
    [1, 3, 5].map((at) => Number.parseInt(stop.slice(at, at + 2), 16)),
  );
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const at = (level / 255) * (colours.length - 1);
    const low = Math.min(colours.length - 2, Math.floor(at));
    const [r, g, b] = colours[low].map((c, i) =>
      Math.round(c + (colours[low + 1][i] - c) * (at - low)),
    );
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}
