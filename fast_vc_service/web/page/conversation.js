// @ts-check
/**
 * One conversation with the service, from start to stop: source, sessions (one after another when
 * the line breaks), loudspeaker, recordings, figures.
 *
 * Events: `state` (a {@link State}), `notice` ({@link Notice} or null), `figures`, `finished`.
 */

import { Graph } from "../audio/graph.js";
import { LatencyMeter } from "../audio/latency.js";
import { readMono } from "../audio/recorded.js";
import { Recording } from "../audio/recording.js";
import { medianF0 } from "../audio/register.js";
import { ServiceError, VoiceClient } from "../client/client.js";
import { nameOf, registerOf, rememberRegister } from "./registers.js";

/** @typedef {"idle" | "starting" | "live" | "reconnecting" | "stopping"} State */
/** @typedef {{error: unknown, retryInS: number | null}} Notice */
/**
 * @typedef {object} Wishes
 * @property {string} url
 * @property {() => Promise<string | undefined>} key a key or token, asked for each session
 * @property {import("../client/client.js").Voice} [voice]
 * @property {number} pitchShift
 * @property {"AUTO" | "PCM" | "OPUS"} encoding
 * @property {{constraints: MediaTrackConstraints} | {file: ArrayBuffer}} source
 * @property {string} loudspeaker
 */

const OPUS_PACKET_S = 0.02;
const RETRIES_S = [1, 2, 4, 8, 15];
/** What trying again does not mend. */
const FINAL = new Set([
  "INVALID_CONFIG",
  "AUTH_FAILED",
  "UNKNOWN_VOICE",
  "CODEC_FAILED",
  "SESSION_LIMIT",
]);

export class Conversation extends EventTarget {
  /** @param {Wishes} wishes */
  constructor(wishes) {
    super();
    this.wishes = wishes;
    /** @type {State} */
    this.state = "idle";
    /** @type {Graph | null} */
    this.graph = null;
    /** @type {VoiceClient | null} */
    this.client = null;
    /** @type {Recording | null} */
    this.input = null;
    /** @type {Recording | null} */
    this.output = null;
    /** @type {LatencyMeter | null} */
    this._meter = null;
    this._own = false;
    this._volume = 1;
    this._tries = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._timer = undefined;
    this.silencedMs = 0;
    this._silencedBefore = 0;
    this.underruns = 0;
    this._underrunsBefore = 0;
    this._playback = { state: "empty", bufferedS: 0, speed: 1, skippedS: 0 };
    /** @type {import("../client/client.d.ts").Stats | null} */
    this.stats = null;
    /** @type {number | undefined} Hz; of the file that is played. */
    this._fileRegister = undefined;
    /** What the microphone is remembered by that the session began with; null for a file. */
    this._microphone = /** @type {string | null} */ (null);
  }

  /**
   * Open devices, then a session.
   * @throws {DOMException} The microphone cannot be had, or the file is no audio.
   */
  async start() {
    this._enter("starting");
    try {
      this.graph = await Graph.open();
      this.graph.setVolume(this._volume);
      if (this.wishes.loudspeaker) await this.graph.setLoudspeaker(this.wishes.loudspeaker);
      await this._openSource();
    } catch (error) {
      await this._finish();
      throw error;
    }
    this.graph.capture.port.onmessage = ({ data }) => this._captured(data);
    this.graph.playback.port.onmessage = ({ data }) => this._reported(data);
    await this._connect();
  }

  /** End the session in order: what was spoken is still heard and recorded. */
  async stop() {
    clearTimeout(this._timer);
    if (this.state !== "live") {
      await this._finish();
      return;
    }
    this._enter("stopping");
    this.graph?.capture.port.postMessage({ type: "stop" });
  }

  /** Try again at once instead of when the pause is over. */
  retryNow() {
    clearTimeout(this._timer);
    if (this.state === "reconnecting") this._connect();
  }

  /** @param {{voice?: import("../client/client.js").Voice, pitchShift?: number}} change */
  update(change) {
    Object.assign(this.wishes, change);
    if (this.state === "live") this.client?.update(change);
  }

  /** Hear the own voice, from within the browser, instead of the converted one. */
  listenToOwn(/** @type {boolean} */ own) {
    this._own = own;
    this._applyListening();
  }

  setVolume(/** @type {number} */ gain) {
    this._volume = gain;
    this.graph?.setVolume(gain);
  }

  /** What the figures panel shows; null members are not known (yet). */
  figures() {
    const latency = this.graph ? (this._meter?.read(this.graph.devices) ?? null) : null;
    return {
      latency,
      silencedMs: this.silencedMs,
      underruns: this.underruns,
      playback: this._playback,
      engine: this.client?.ready?.engine ?? null,
      voice: this.client?.ready?.voice ?? null,
      encoding: this.client?.ready ? this.client.encoding : null,
      recordedByService: this.client?.ready?.recording ?? false,
      sampleRate: this.graph?.context.sampleRate ?? null,
      spokenS: this.input?.seconds ?? 0,
      stats: this.stats,
    };
  }

  /**
   * Speak into another microphone from now on; nothing happens when a file is played.
   * @param {MediaTrackConstraints} constraints
   * @throws {DOMException} It cannot be had; the one before goes on.
   */
  async switchMicrophone(constraints) {
    if (this.graph === null || "file" in this.wishes.source) return;
    await this._useMicrophone(constraints);
    this.wishes.source = { constraints };
  }

  /** @param {MediaTrackConstraints} constraints */
  async _useMicrophone(constraints) {
    await this.graph?.useMicrophone(constraints, () => {
      this._notify(new DOMException("the microphone is gone", "DeviceGoneError"), null);
      this.stop();
    });
  }

  async _openSource() {
    const graph = /** @type {Graph} */ (this.graph);
    const { source } = this.wishes;
    if ("constraints" in source) {
      await this._useMicrophone(source.constraints);
    } else {
      this._fileBuffer = await graph.context.decodeAudioData(source.file.slice(0));
      this._fileRegister = (await medianF0(await readMono(source.file))) ?? undefined;
    }
  }

  async _connect() {
    const { wishes } = this;
    const { source } = wishes;
    this._microphone = "constraints" in source ? nameOf(source.constraints) : null;
    try {
      const client = new VoiceClient(wishes.url, {
        apiKey: await wishes.key(),
        voice: wishes.voice,
        pitchShift: wishes.pitchShift,
        encoding: wishes.encoding,
        sourceF0Hz:
          this._microphone === null ? this._fileRegister : registerOf(this._microphone),
      });
      this.client = client;
      client.addEventListener("audio", (event) => this._received(client, event.detail));
      client.addEventListener("warning", (event) => this._warned(event.detail));
      client.addEventListener("goingaway", () => this._leave(client));
      client.addEventListener("close", (event) => this._closed(client, event.detail));
      await client.connect();
      if (/** @type {State} */ (this.state) === "idle") client.close();
      else this._begin(client);
    } catch (error) {
      this._retryOrGiveUp(error);
    }
  }

  /** The session is open: capture from now on. @param {VoiceClient} client */
  _begin(client) {
    const ready = /** @type {import("../client/client.d.ts").Ready} */ (client.ready);
    const graph = /** @type {Graph} */ (this.graph);
    this.input ??= new Recording(client.sampleRate);
    this.output ??= new Recording(client.sampleRateOut);
    // Sessions that follow go on in the same recordings, so at the same rates.
    this.wishes.encoding = client.encoding;
    this._offsetS = Math.max(this.input.seconds, this.output.seconds);
    this.input.padTo(this._offsetS);
    this.output.padTo(this._offsetS);
    this._meter = null;
    this._silencedBefore = this.silencedMs;
    this._underrunsBefore = this.underruns;
    graph.playback.port.postMessage({
      type: "start",
      rate: client.sampleRateOut,
      // The first output is shorter than a block by the delay that was cut from its start, and
      // with Opus by what does not fill a packet.
      headStartS:
        (ready.delay_ms % ready.block_ms) / 1e3 + (client.encoding === "OPUS" ? OPUS_PACKET_S : 0),
    });
    graph.capture.port.postMessage({ type: "start", rate: client.sampleRate });
    if (this._fileBuffer) {
      const buffer = this._fileBuffer;
      this._fileBuffer = null;
      graph.useBuffer(buffer, () => this.stop());
    }
    this._tries = 0;
    this._notify(null, null);
    this._enter("live");
  }

  /** @param {{type: string, at?: number, samples?: Float32Array}} data from the capture worklet */
  _captured(data) {
    const client = /** @type {VoiceClient} */ (this.client);
    if (data.type === "started" && client.ready) {
      this._meter = new LatencyMeter({
        blockS: client.ready.block_ms / 1e3,
        delayS: client.ready.delay_ms / 1e3,
        startedAt: /** @type {number} */ (data.at),
      });
    } else if (data.type === "samples" && data.samples) {
      client.send(data.samples);
      this.input?.add(data.samples);
    } else if (data.type === "stopped" && this.state === "stopping") {
      client.end().then(
        (stats) => {
          this.stats = stats;
          this._learned(stats);
          this.silencedMs = this._silencedBefore + stats.silenced_ms;
          this.graph?.playback.port.postMessage({ type: "end" });
        },
        (error) => {
          this._notify(error, null);
          this._finish();
        },
      );
    }
  }

  /** @param {VoiceClient} client @param {Float32Array} samples */
  _received(client, samples) {
    if (client !== this.client || !this.graph) return;
    this._meter?.arrived(client.receivedSamples / client.sampleRateOut, this.graph.context.currentTime);
    this.output?.add(samples);
    this.graph.playback.port.postMessage({ type: "add", samples });
  }

  /** @param {any} report from the playback worklet */
  _reported(report) {
    this._playback = report;
    this.underruns = this._underrunsBefore + report.underruns;
    if (report.playing) this._meter?.played(report.positionS, report.at);
    if (this._own) this._applyListening();
    if (report.state === "ended" && this.state === "stopping") this._finish();
    this.dispatchEvent(new CustomEvent("figures", { detail: this.figures() }));
  }

  /** @param {{code: string, silenced_ms: number}} warning */
  _warned(warning) {
    this.silencedMs = this._silencedBefore + warning.silenced_ms;
    if (warning.code === "UNKNOWN_VOICE" || warning.code === "INVALID_UPDATE") {
      this._notify(new ServiceError(warning.code, ""), null);
    }
  }

  /** The service stops soon: take what it still has, then look for it again. */
  async _leave(/** @type {VoiceClient} */ client) {
    if (client !== this.client || this.state !== "live") return;
    this._notify(new ServiceError("GOING_AWAY", ""), null);
    await client.end().then((stats) => this._learned(stats), () => {});
  }

  /** Keep the register for the next session. @param {import("../client/client.d.ts").Stats} stats */
  _learned({ source_f0_hz: f0 }) {
    if (this._microphone !== null && f0 != null) rememberRegister(this._microphone, f0);
  }

  /** @param {VoiceClient} client @param {ServiceError | null} error */
  _closed(client, error) {
    if (client !== this.client) return;
    if (this.state === "live") {
      this._retryOrGiveUp(error ?? new ServiceError("GOING_AWAY", ""));
    }
  }

  /** @param {unknown} error */
  async _retryOrGiveUp(error) {
    if (this.state === "idle" || this.state === "stopping") return;
    const final = !(error instanceof ServiceError) || FINAL.has(error.code);
    const first = this.input === null && this._tries === 0;
    if (final || (first && error.code === "UNREACHABLE") || this._fileIsGone()) {
      await this._finish();
      this._notify(error, null);
      return;
    }
    this.graph?.capture.port.postMessage({ type: "stop" });
    const pause = Math.max(
      RETRIES_S[Math.min(this._tries, RETRIES_S.length - 1)],
      error.retryAfterS ?? 0,
    );
    this._tries += 1;
    this._enter("reconnecting");
    this._notify(error, pause);
    this._timer = setTimeout(() => this._connect(), pause * 1e3);
  }

  /** A file is played once; what was cut off cannot be spoken again. */
  _fileIsGone() {
    return "file" in this.wishes.source && this._fileBuffer === null;
  }

  async _finish() {
    const { graph, client } = this;
    this._enter("idle");
    this.graph = null;
    client?.close();
    await graph?.close();
    this.dispatchEvent(new Event("finished"));
  }

  _applyListening() {
    const core = this._meter?.read({ inputS: 0, outputS: 0 })?.totalS ?? 0;
    this.graph?.listenTo(this._own, core);
  }

  /** @param {State} state */
  _enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  /** @param {unknown} error null takes the last notice away @param {number | null} retryInS */
  _notify(error, retryInS) {
    const detail = error === null ? null : { error, retryInS };
    this.dispatchEvent(new CustomEvent("notice", { detail }));
  }
}
