// @ts-check
/**
 * The audio graph: a source (microphone or file) into the capture worklet; the playback worklet,
 * or the own voice straight from the source, into the loudspeaker. The capture worklet also gives
 * out what it hears, its two channels mixed down to one.
 *
 *     source ─ capture ┬⇢ service ⇢ playback ─ converted gain ─┬─ volume ─ loudspeaker
 *                      └─ delay (as long as the service's way) ─ own gain ┘
 */

const SWITCH_S = 0.03;
const MAX_DELAY_S = 10;
const LAG_TOLERANCE_S = 0.05;

/** What the browser may be told about a microphone. */
export const PLAIN_MICROPHONE = {
  channelCount: { ideal: 2 },
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};

export class Graph {
  /** @param {AudioContext} context */
  constructor(context) {
    this.context = context;
    this.capture = new AudioWorkletNode(context, "capture", {
      numberOfInputs: 1,
      numberOfOutputs: 1,
      outputChannelCount: [1],
      // One channel stays one; of more than two the first two are heard.
      channelCount: 2,
      channelCountMode: "clamped-max",
      channelInterpretation: "discrete",
    });
    this.playback = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      numberOfOutputs: 1,
      outputChannelCount: [1],
    });
    this.inputAnalyser = analyser(context);
    this.outputAnalyser = analyser(context);
    this._ownDelay = new DelayNode(context, { maxDelayTime: MAX_DELAY_S });
    this._own = new GainNode(context, { gain: 0 });
    this._converted = new GainNode(context, { gain: 1 });
    this._volume = new GainNode(context, { gain: 1 });
    this._inputReportedS = 0;
    /** @type {AudioNode | null} */
    this._source = null;
    /** @type {MediaStream | null} */
    this._stream = null;

    this.capture.connect(this.inputAnalyser);
    this.inputAnalyser.connect(this._ownDelay).connect(this._own).connect(this._volume);
    this.playback.connect(this._converted).connect(this._volume);
    this.playback.connect(this.outputAnalyser);
    this._volume.connect(context.destination);
  }

  /** A running context with the worklets in it. @returns {Promise<Graph>} */
  static async open() {
    const context = new AudioContext({ latencyHint: "interactive" });
    const here = (/** @type {string} */ name) => new URL(name, import.meta.url).href;
    await Promise.all([
      context.audioWorklet.addModule(here("capture-worklet.js")),
      context.audioWorklet.addModule(here("playback-worklet.js")),
      context.resume(),
    ]);
    return new Graph(context);
  }

  /**
   * Speak into a microphone.
   * @param {MediaTrackConstraints} constraints
   * @param {() => void} onGone called when the device is unplugged or taken away
   */
  async useMicrophone(constraints, onGone) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: constraints });
    const [track] = stream.getAudioTracks();
    if (this.context.state === "closed") {
      track.stop();
      return;
    }
    this._dropSource();
    track.onended = onGone;
    this._stream = stream;
    const settings = /** @type {MediaTrackSettings & {latency?: number}} */ (track.getSettings());
    this._inputReportedS = settings.latency ?? 0;
    this._source = this.context.createMediaStreamSource(stream);
    this._source.connect(this.capture);
  }

  /**
   * Play a recording as if it were spoken.
   * @param {AudioBuffer} buffer
   * @param {() => void} onEnd
   */
  useBuffer(buffer, onEnd) {
    this._dropSource();
    this._inputReportedS = 0;
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.onended = onEnd;
    source.connect(this.capture);
    source.start();
    this._source = source;
  }

  /** Hear the own voice, late by `lagS` as the converted one is. @param {boolean} own */
  listenTo(own, lagS = 0) {
    const now = this.context.currentTime;
    const lag = Math.min(MAX_DELAY_S, Math.max(0, lagS));
    // A change is heard as a jump: none for what nobody would notice.
    if (Math.abs(this._ownDelay.delayTime.value - lag) > LAG_TOLERANCE_S) {
      this._ownDelay.delayTime.setValueAtTime(lag, now);
    }
    this._own.gain.setTargetAtTime(own ? 1 : 0, now, SWITCH_S / 3);
    this._converted.gain.setTargetAtTime(own ? 0 : 1, now, SWITCH_S / 3);
  }

  /** @param {number} gain */
  setVolume(gain) {
    this._volume.gain.setTargetAtTime(gain, this.context.currentTime, SWITCH_S / 3);
  }

  /** Choose the loudspeaker, where the browser lets one. @param {string} deviceId */
  async setLoudspeaker(deviceId) {
    const context = /** @type {AudioContext & {setSinkId?: (id: string) => Promise<void>}} */ (
      this.context
    );
    await context.setSinkId?.(deviceId);
  }

  /** Seconds that the devices add, as the browser reports them. */
  get devices() {
    const { baseLatency, outputLatency } = this.context;
    return { inputS: this._inputReportedS, outputS: (baseLatency || 0) + (outputLatency || 0) };
  }

  async close() {
    this._dropSource();
    for (const node of [this.capture, this.playback]) node.port.postMessage({ type: "close" });
    await this.context.close();
  }

  _dropSource() {
    if (this._source instanceof AudioBufferSourceNode) {
      this._source.onended = null;
      this._source.stop();
    }
    this._source?.disconnect();
    this._source = null;
    for (const track of this._stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this._stream = null;
  }
}

/** @param {AudioContext} context */
function analyser(context) {
  return new AnalyserNode(context, {
    fftSize: 2048,
    smoothingTimeConstant: 0,
    minDecibels: -100,
    maxDecibels: -20,
    channelCount: 1,
    channelCountMode: "explicit",
  });
}
