// @ts-check
/**
 * The service's WebSocket from a browser: speech in, the same speech in another voice out.
 *
 * One `VoiceClient` is one session. Output starts at the first sample of the input and lasts as
 * long as the input, whatever the encoding.
 */

import {
  OPUS_RATE,
  OpusDecoder,
  OpusEncoder,
  PcmDecoder,
  PcmEncoder,
  opusSupported,
} from "./codecs.js";
import { ServiceError } from "./errors.js";
import { OPTION_NAMES } from "./options.js";

export { ServiceError, opusSupported };

/** @typedef {import("./client.d.ts").ClientOptions} ClientOptions */
/** @typedef {import("./client.d.ts").Ready} Ready */
/** @typedef {import("./client.d.ts").Stats} Stats */

const PCM_RATE_IN = 16000;
const PCM_RATE_OUT = 24000;

/** One session. Events: audio, warning, updated, marker, goingaway, close. */
export class VoiceClient extends EventTarget {
  /**
   * @param {string | URL} url `ws://HOST:PORT/ws`, or `wss:` with TLS
   * @param {ClientOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.url = String(url);
    this.options = options;
    /** @type {Ready | null} */
    this.ready = null;
    /** @type {"PCM" | "OPUS"} */
    this.encoding = "PCM";
    /** Hz of what `send` takes. */
    this.sampleRate = options.sampleRate ?? PCM_RATE_IN;
    /** Hz of what the `audio` event carries. */
    this.sampleRateOut = options.sampleRateOut ?? PCM_RATE_OUT;
    /** Input samples given to `send`. */
    this.sentSamples = 0;
    /** Output samples handed out by `audio`. */
    this.receivedSamples = 0;
    this._ended = false;
    this._skip = 0;
    this._started = false;
    /** @type {WebSocket | undefined} */
    this._socket = undefined;
    /** @type {PcmEncoder | OpusEncoder | undefined} */
    this._encoder = undefined;
    /** @type {PcmDecoder | OpusDecoder | undefined} */
    this._decoder = undefined;
    /** @type {ServiceError | null} */
    this._error = null;
    /** @type {Promise<void> | null} Set once the service said that all is sent. */
    this._finishing = null;
    /** @type {{resolve: (stats: Stats) => void, reject: (error: Error) => void} | null} */
    this._completion = null;
  }

  /**
   * Open the session.
   * @returns {Promise<Ready>}
   * @throws {ServiceError} The service refused, or could not be reached.
   */
  async connect() {
    const wanted = this.options.encoding ?? "AUTO";
    const opus = wanted === "OPUS" || (wanted === "AUTO" && (await opusSupported()));
    try {
      return await this._open(opus ? "OPUS" : "PCM");
    } catch (error) {
      const noLibopus =
        error instanceof ServiceError &&
        error.code === "INVALID_CONFIG" &&
        error.details.got === "encoding OPUS";
      if (wanted !== "AUTO" || !noLibopus) throw error;
      return this._open("PCM");
    }
  }

  /**
   * Send speech.
   * @param {Float32Array} samples mono in [-1, 1] at `sampleRate`, any number
   */
  send(samples) {
    if (this._ended || this._socket?.readyState !== WebSocket.OPEN) return;
    this.sentSamples += samples.length;
    this._encoder?.encode(samples);
  }

  /**
   * Change voice, pitch shift or both from here on; answered by the event `updated`, or by
   * `warning` when it is refused.
   * @param {{voice?: import("./client.d.ts").Voice, pitchShift?: number}} change
   */
  update({ voice, pitchShift }) {
    this._say({ type: "update", voice, pitch_shift: pitchShift });
  }

  /**
   * Ask to be told, by the event `marker`, when output has reached this place of the input.
   * @param {string | number} id
   */
  mark(id) {
    this._say({ type: "marker", id });
  }

  /**
   * Tell that no more speech follows; resolves when all output has been handed out.
   * @returns {Promise<Stats>}
   * @throws {ServiceError} The session ended another way.
   */
  async end() {
    if (this._error) throw this._error;
    if (this._ended) throw new Error("end() was called before");
    await this._encoder?.flush();
    this._ended = true;
    const completion = new Promise((resolve, reject) => {
      this._completion = { resolve, reject };
    });
    this._say({ type: "end" });
    return /** @type {Promise<Stats>} */ (completion);
  }

  /** Resolves when little of what was given to `send` still waits in the browser. */
  async drained() {
    while (this._socket?.readyState === WebSocket.OPEN && this._socket.bufferedAmount > 1 << 16) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Close at once; what is not converted yet is thrown away. */
  close() {
    this._shut();
    this._socket?.close(1000);
  }

  /**
   * @param {"PCM" | "OPUS"} encoding
   * @returns {Promise<Ready>}
   */
  _open(encoding) {
    const opus = encoding === "OPUS";
    this.encoding = encoding;
    this.sampleRate = opus ? OPUS_RATE : (this.options.sampleRate ?? PCM_RATE_IN);
    this.sampleRateOut = opus ? OPUS_RATE : (this.options.sampleRateOut ?? PCM_RATE_OUT);
    this._error = null;
    this._skip = 0;
    this._started = false;
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this._socket = socket;
    const sendBytes = (/** @type {ArrayBuffer} */ bytes) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
    };
    const emit = (/** @type {Float32Array} */ samples) => this._hand(samples);
    const fail = (/** @type {Error} */ error) =>
      this._fail(new ServiceError("CODEC_FAILED", error.message));
    this._encoder = opus ? new OpusEncoder(sendBytes, fail) : new PcmEncoder(sendBytes);
    this._decoder = opus ? new OpusDecoder(emit, fail) : new PcmDecoder(emit);

    return new Promise((resolve, reject) => {
      socket.onopen = () => socket.send(JSON.stringify(this._config(encoding)));
      socket.onmessage = (event) => {
        if (typeof event.data !== "string") {
          this._decoder?.decode(event.data);
          return;
        }
        const message = JSON.parse(event.data);
        if (message.type === "ready") {
          this.ready = message;
          resolve(message);
        } else {
          this._take(message);
        }
      };
      socket.onclose = async () => {
        // The last audio may still be in the decoder.
        await this._finishing;
        const before = this.ready === null;
        this._error ??= before
          ? new ServiceError("UNREACHABLE", "the service cannot be reached")
          : new ServiceError("CONNECTION_LOST", "the connection to the service was lost");
        reject(this._error);
        this._completion?.reject(this._error);
        this._shut();
        if (!before) this._tell("close", this._finishing ? null : this._error);
      };
    });
  }

  /** @param {"PCM" | "OPUS"} encoding */
  _config(encoding) {
    const options = /** @type {Record<string, unknown>} */ (this.options);
    const given = Object.entries(OPTION_NAMES).map(([option, name]) => [name, options[option]]);
    return {
      type: "config",
      ...Object.fromEntries(given),
      encoding,
      sample_rate: this.sampleRate,
      encoding_out: encoding,
      sample_rate_out: this.sampleRateOut,
    };
  }

  /** @param {any} message */
  _take(message) {
    switch (message.type) {
      case "error":
        this._fail(new ServiceError(message.error_code, message.message, message.details ?? {}));
        break;
      case "complete":
        this._finishing = this._finish(message.stats);
        break;
      case "going_away":
        this._tell("goingaway", message);
        break;
      case "warning":
      case "updated":
      case "marker":
        this._tell(message.type, message);
        break;
    }
  }

  /** @param {Stats} stats */
  async _finish(stats) {
    await this._decoder?.flush();
    this._completion?.resolve(stats);
  }

  /** @param {ServiceError} error */
  _fail(error) {
    this._error ??= error;
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.close(1000);
  }

  /**
   * Hand output on without what the coders put in front of it and pad at its end.
   * @param {Float32Array} samples
   */
  _hand(samples) {
    if (!this._started) {
      this._started = true;
      this._skip = (this.ready?.opus_pre_skip_samples ?? 0) + (this._encoder?.preSkip ?? 0);
    }
    const cut = Math.min(this._skip, samples.length);
    this._skip -= cut;
    let piece = samples.subarray(cut);
    if (this._ended) {
      const total = Math.round((this.sentSamples * this.sampleRateOut) / this.sampleRate);
      piece = piece.subarray(0, Math.max(0, total - this.receivedSamples));
    }
    if (piece.length === 0) return;
    this.receivedSamples += piece.length;
    this._tell("audio", piece);
  }

  /** @param {object} message */
  _say(message) {
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(message));
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  _tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  _shut() {
    this._encoder?.close();
    this._decoder?.close();
  }
}

/**
 * Convert a whole recording as fast as the service can.
 * @param {string | URL} url
 * @param {Float32Array} samples mono in [-1, 1] at `options.sampleRate`
 * @param {ClientOptions & {onProgress?: (share: number) => void, signal?: AbortSignal}} [options]
 * @returns {Promise<{samples: Float32Array, sampleRate: number, stats: Stats}>}
 * @throws {ServiceError} The service refused or failed.
 */
export async function convert(url, samples, options = {}) {
  const { onProgress, signal, ...rest } = options;
  const client = new VoiceClient(url, { encoding: "PCM", ...rest, realtime: false });
  signal?.addEventListener("abort", () => client.close());
  await client.connect();
  const total = Math.round((samples.length * client.sampleRateOut) / client.sampleRate);
  const output = new Float32Array(total);
  let filled = 0;
  client.addEventListener("audio", (event) => {
    const piece = /** @type {CustomEvent<Float32Array>} */ (event).detail;
    output.set(piece.subarray(0, total - filled), filled);
    filled += piece.length;
    onProgress?.(Math.min(1, filled / total));
  });
  const step = Math.ceil(client.sampleRate / 5);
  for (let start = 0; start < samples.length; start += step) {
    client.send(samples.subarray(start, start + step));
    await client.drained();
  }
  const stats = await client.end();
  return { samples: output, sampleRate: client.sampleRateOut, stats };
}
