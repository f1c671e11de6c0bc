// @ts-check
/** Samples to wire bytes and back: 16-bit PCM, or Opus by WebCodecs where the browser has it. */

/** Hz. The one rate that every browser's Opus coder takes. */
export const OPUS_RATE = 48000;
const OPUS_FRAME_US = 20000;

/**
 * Float samples as 16-bit little-endian PCM, clipped.
 * @param {Float32Array} samples in [-1, 1]
 * @returns {ArrayBuffer}
 */
export function toPcm16(samples) {
  const view = new DataView(new ArrayBuffer(samples.length * 2));
  for (let i = 0; i < samples.length; i++) {
    const clipped = Math.max(-1, Math.min(1, samples[i]));
    view.setInt16(i * 2, Math.round(clipped * 32767), true);
  }
  return view.buffer;
}

/** Whether this browser codes Opus both ways. WebCodecs exist in secure contexts only. */
export async function opusSupported() {
  if (typeof AudioEncoder === "undefined" || typeof AudioDecoder === "undefined") return false;
  try {
    const [encoder, decoder] = await Promise.all([
      AudioEncoder.isConfigSupported(encoderConfig(32000)),
      AudioDecoder.isConfigSupported(decoderConfig()),
    ]);
    return Boolean(encoder.supported && decoder.supported);
  } catch {
    return false;
  }
}

/** @param {number} bitrate */
function encoderConfig(bitrate) {
  return {
    codec: "opus",
    sampleRate: OPUS_RATE,
    numberOfChannels: 1,
    bitrate,
    opus: { frameDuration: OPUS_FRAME_US, application: /** @type {const} */ ("voip") },
  };
}

function decoderConfig() {
  return { codec: "opus", sampleRate: OPUS_RATE, numberOfChannels: 1 };
}

/** PCM out: any number of samples a message. */
export class PcmEncoder {
  /** @param {(message: ArrayBuffer) => void} emit */
  constructor(emit) {
    this._emit = emit;
    /** Samples by which the decoded stream starts early. */
    this.preSkip = 0;
  }
  /** @param {Float32Array} samples */
  encode(samples) {
    if (samples.length > 0) this._emit(toPcm16(samples));
  }
  async flush() {}
  close() {}
}

/** PCM in; a sample may straddle two messages. */
export class PcmDecoder {
  /** @param {(samples: Float32Array) => void} emit */
  constructor(emit) {
    this._emit = emit;
    /** @type {Uint8Array} */
    this._carry = new Uint8Array(0);
  }
  /** @param {ArrayBuffer} message */
  decode(message) {
    const bytes = new Uint8Array(this._carry.length + message.byteLength);
    bytes.set(this._carry);
    bytes.set(new Uint8Array(message), this._carry.length);
    const count = bytes.length >> 1;
    const view = new DataView(bytes.buffer);
    const samples = new Float32Array(count);
    for (let i = 0; i < count; i++) samples[i] = view.getInt16(i * 2, true) / 32768;
    this._carry = bytes.slice(count * 2);
    if (count > 0) this._emit(samples);
  }
  async flush() {}
  close() {}
}

/** Opus out: packets of 20 ms, one a message. */
export class OpusEncoder {
  /**
   * @param {(message: ArrayBuffer) => void} emit
   * @param {(error: Error) => void} fail
   * @param {number} [bitrate] bit/s
   */
  constructor(emit, fail, bitrate = 32000) {
    this.preSkip = 0;
    this._timestampUs = 0;
    this._encoder = new AudioEncoder({
      output: (chunk, metadata) => {
        // The identification header (RFC 7845) tells the coder's delay at bytes 10 and 11.
        const header = metadata?.decoderConfig?.description;
        if (header) this.preSkip = preSkipOf(header);
        const packet = new ArrayBuffer(chunk.byteLength);
        chunk.copyTo(packet);
        emit(packet);
      },
      error: fail,
    });
    this._encoder.configure(encoderConfig(bitrate));
  }
  /** @param {Float32Array} samples at 48 kHz */
  encode(samples) {
    if (samples.length === 0) return;
    const data = new AudioData({
      format: "f32-planar",
      sampleRate: OPUS_RATE,
      numberOfFrames: samples.length,
      numberOfChannels: 1,
      timestamp: this._timestampUs,
      data: new Float32Array(samples),
    });
    this._timestampUs += Math.round((samples.length / OPUS_RATE) * 1e6);
    this._encoder.encode(data);
    data.close();
  }
  /** Emit all that is left, the end of the signal behind the coder's delay included. */
  async flush() {
    if (this._timestampUs === 0) return;
    const frame = (OPUS_FRAME_US * OPUS_RATE) / 1e6;
    this.encode(new Float32Array(this.preSkip > 0 ? this.preSkip : frame));
    await this._encoder.flush();
  }
  close() {
    if (this._encoder.state !== "closed") this._encoder.close();
  }
}

/** @param {AllowSharedBufferSource} header */
function preSkipOf(header) {
  const bytes = ArrayBuffer.isView(header)
    ? new Uint8Array(header.buffer, header.byteOffset, header.byteLength)
    : new Uint8Array(header);
  return bytes.length >= 12 ? bytes[10] | (bytes[11] << 8) : 0;
}

/** Opus in: one packet a message. */
export class OpusDecoder {
  /**
   * @param {(samples: Float32Array) => void} emit
   * @param {(error: Error) => void} fail
   */
  constructor(emit, fail) {
    this._timestampUs = 0;
    this._decoder = new AudioDecoder({
      output: (data) => {
        const samples = new Float32Array(data.numberOfFrames);
        data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
        data.close();
        emit(samples);
      },
      error: fail,
    });
    this._decoder.configure(decoderConfig());
  }
  /** @param {ArrayBuffer} message */
  decode(message) {
    this._decoder.decode(
      new EncodedAudioChunk({ type: "key", timestamp: this._timestampUs, data: message }),
    );
    this._timestampUs += OPUS_FRAME_US;
  }
  async flush() {
    if (this._decoder.state === "configured") await this._decoder.flush();
  }
  close() {
    if (this._decoder.state !== "closed") this._decoder.close();
  }
}
