/** Name of a voice the service has, or a blend: names with their weights. */
export type Voice = string | Record<string, number>;

// Written by scripts/protocol.py from fast_vc_service/protocol; do not edit up to the end.

/** What goes to the service as it is given. */
export interface SessionOptions {
  /** 1 to 128 characters, no control characters; echoed unchanged. It need not be unique. */
  sessionId?: string;
  /** The key, if the server has keys; or send the header Authorization: Bearer KEY. */
  apiKey?: string;
  /** Name of a voice that the server has, or a blend: names with weights. */
  voice?: Voice;
  /** Semitones, -24 to 24, on top of the match to the voice's register. */
  pitchShift?: number;
  /**
   * True: a live conversation. false: an upload; it is slowed down when the server is busy, but
   * none of it is ever silenced.
   */
  realtime?: boolean;
  /** Seed of the noise in the voice; the same audio and seed give the same output. */
  seed?: number;
  /**
   * 1 to 128 characters, no control characters; echoed in ready and kept in the timeline of a
   * recording, never logged.
   */
  label?: string;
  /**
   * The register of the speaker, if it is known: median F0 in Hz, 50 to 1100, as an earlier session
   * has told it at its end, or as measured in a recording.
   */
  sourceF0Hz?: number;
}

/** The session is open. */
export interface Ready {
  type: "ready";
  /** As asked for, or made by the server. */
  session_id: string;
  /** A sentence for a person. */
  message: string;
  /** Hz of the audio to come. */
  sample_rate_out: number;
  /** Its encoding. */
  encoding_out: "PCM" | "OPUS" | "MULAW" | "ALAW";
  /** Decoded samples to drop from the start of Opus output. */
  opus_pre_skip_samples: number;
  /** The voice in use; of a blend names with shares. */
  voice: Voice;
  /** The server's engine. */
  engine: string;
  /** Audio the server converts at a time: a sample waits until its block is full. */
  block_ms: number;
  /** By how much output trails its input, the block itself not counted. */
  delay_ms: number;
  /** block_ms + delay_ms; computing and network come on top. */
  latency_ms: number;
  /** Whether the server records the session. */
  recording: boolean;
  limits: {
    /** Longest message. */
    max_message_bytes: number;
    /** Longest time without a message. */
    idle_timeout_s: number;
    /** Longest session; 0: no limit. */
    max_session_s: number;
    /** How far a client may run ahead of its own clock. */
    max_buffered_ms: number;
  };
  /** The server's version. */
  server_version: string;
  /** As asked for. */
  label?: string;
}

/** Follows the output that a marker asked for. */
export interface MarkerReached {
  type: "marker";
  id: string | number;
  received_ms: number;
  sent_ms: number;
}

/** Precedes the first output that an update affects. */
export interface Updated {
  type: "updated";
  voice: Voice;
  pitch_shift: number;
  from_sent_ms: number;
}

/** Something went wrong that the session survives; at most one a second. */
export interface Warned {
  type: "warning";
  code: string;
  message: string;
  silenced_ms: number;
}

/** The service is about to stop. */
export interface GoingAway {
  type: "going_away";
  in_s: number;
}

/** All output has been sent; the connection closes with 1000. */
export interface Stats {
  /** Input that was converted. */
  total_processed_ms: number;
  /** Blocks the model was given. */
  chunks_processed: number;
  /** Per block: from receipt of its last byte to the hand-over of its output to the transport. */
  average_latency_ms: number;
  /** Audio in and out. */
  received_ms: number;
  /** Audio in and out. */
  sent_ms: number;
  /** Audio in and out. */
  sent_samples: number;
  /** Output replaced by silence, because a block was late or could not be converted. */
  silenced_ms: number;
  /** Input made up for lost or broken Opus packets. */
  concealed_ms: number;
  /** Per block: from receipt of its last byte to the hand-over of its output to the transport. */
  latency_p50_ms: number;
  /** Per block: from receipt of its last byte to the hand-over of its output to the transport. */
  latency_p95_ms: number;
  /** Per block: from receipt of its last byte to the hand-over of its output to the transport. */
  latency_p99_ms: number;
  /**
   * Per block: wall time of the step that carried it, not divided by the sessions in it, over the
   * block's length. Null without any block.
   */
  real_time_factor: Record<"mean" | "median" | "min" | "max" | "std" | "p95" | "p99", number | null>;
  /** real_time_factor.p95 < 1 and silenced_ms = 0. */
  is_real_time: boolean;
  /**
   * The register of the speaker (median F0 in Hz) as the session has learned it, for the next
   * session's source_f0_hz; null before half a second of voiced speech, and from engines that need
   * none.
   */
  source_f0_hz: number | null;
}

// The end of what is written.

/** What a session is opened with; everything may be left out. */
export interface ClientOptions extends SessionOptions {
  /** `AUTO` (the default) is Opus where browser and service both have it, PCM otherwise. */
  encoding?: "AUTO" | "PCM" | "OPUS";
  /** Hz of PCM input; 16000 by default. Opus is always 48000. */
  sampleRate?: number;
  /** Hz of PCM output; 24000 by default. Opus is always 48000. */
  sampleRateOut?: number;
}

/** What comes with each event, as `detail` of a `CustomEvent`. */
export interface ClientEvents {
  /** Converted speech, mono in [-1, 1] at `sampleRateOut`. */
  audio: Float32Array;
  warning: Warned;
  updated: Updated;
  marker: MarkerReached;
  goingaway: GoingAway;
  /** The session is over: null after `end`, else why. */
  close: ServiceError | null;
}

/** An error that the service told, or that told itself by how the line ended. */
export class ServiceError extends Error {
  constructor(code: string, message: string, details?: Record<string, unknown>);
  /** Error code of the service, or `UNREACHABLE`, `CONNECTION_LOST`, `CODEC_FAILED`. */
  code: string;
  details: Record<string, unknown>;
  readonly retryAfterS: number | null;
}

/** One session. */
export class VoiceClient extends EventTarget {
  constructor(url: string | URL, options?: ClientOptions);
  readonly url: string;
  readonly options: ClientOptions;
  readonly ready: Ready | null;
  readonly encoding: "PCM" | "OPUS";
  /** Hz of what `send` takes; settled once connected. */
  readonly sampleRate: number;
  /** Hz of what the `audio` event carries; settled once connected. */
  readonly sampleRateOut: number;
  readonly sentSamples: number;
  readonly receivedSamples: number;
  /** Open the session; rejects with a `ServiceError`. */
  connect(): Promise<Ready>;
  /** Send mono samples in [-1, 1] at `sampleRate`, any number. */
  send(samples: Float32Array): void;
  /** Change voice, pitch shift or both from here on. */
  update(change: { voice?: Voice; pitchShift?: number }): void;
  /** Ask for the event `marker` when output has reached this place of the input. */
  mark(id: string | number): void;
  /** No more speech follows; resolves when all output has been handed out. */
  end(): Promise<Stats>;
  /** Resolves when little of what was given to `send` still waits in the browser. */
  drained(): Promise<void>;
  /** Close at once; what is not converted yet is thrown away. */
  close(): void;
  addEventListener<K extends keyof ClientEvents>(
    type: K,
    listener: (event: CustomEvent<ClientEvents[K]>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/** Convert a whole recording as fast as the service can. */
export function convert(
  url: string | URL,
  samples: Float32Array,
  options?: ClientOptions & {
    onProgress?: (share: number) => void;
    signal?: AbortSignal;
  },
): Promise<{ samples: Float32Array; sampleRate: number; stats: Stats }>;

/** Whether this browser codes Opus both ways; only ever in a secure context. */
export function opusSupported(): Promise<boolean>;
