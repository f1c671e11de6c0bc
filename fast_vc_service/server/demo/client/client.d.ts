/** Name of a voice the service has, or a blend: names with their weights. */
export type Voice = string | Record<string, number>;

/** What a session is opened with; everything may be left out. */
export interface ClientOptions {
  /** A key, or a token from `POST /tokens`, if the service has keys. */
  apiKey?: string;
  /** The service's default when left out. */
  voice?: Voice;
  /** Semitones from -24 to 24. */
  pitchShift?: number;
  /** `AUTO` (the default) is Opus where browser and service both have it, PCM otherwise. */
  encoding?: "AUTO" | "PCM" | "OPUS";
  /** Hz of PCM input, 8000 to 48000; 16000 by default. Opus is always 48000. */
  sampleRate?: number;
  /** Hz of PCM output, 8000 to 48000; 24000 by default. Opus is always 48000. */
  sampleRateOut?: number;
  /** False for recordings: as fast as the service can, nothing ever silenced. */
  realtime?: boolean;
  /** Seed of the noise in the voice. */
  seed?: number;
  /** Echoed in `ready`; made by the service when left out. */
  sessionId?: string;
}

/** The service's first answer. */
export interface Ready {
  type: "ready";
  session_id: string;
  message: string;
  sample_rate_out: number;
  encoding_out: "PCM" | "OPUS";
  opus_pre_skip_samples: number;
  voice: Voice;
  engine: string;
  /** A sample waits until its block is full. */
  block_ms: number;
  /** Output trails by this much more. */
  delay_ms: number;
  /** Their sum; computing and network come on top. */
  latency_ms: number;
  recording: boolean;
  limits: {
    max_message_bytes: number;
    idle_timeout_s: number;
    max_session_s: number;
    max_buffered_ms: number;
  };
  server_version: string;
}

/** What the service counted in a session. */
export interface Stats {
  total_processed_ms: number;
  chunks_processed: number;
  average_latency_ms: number;
  received_ms: number;
  sent_ms: number;
  sent_samples: number;
  silenced_ms: number;
  concealed_ms: number;
  latency_p50_ms: number;
  latency_p95_ms: number;
  latency_p99_ms: number;
  real_time_factor: Record<
    "mean" | "median" | "min" | "max" | "std" | "p95" | "p99",
    number
  > | null;
  is_real_time: boolean;
}

/** What comes with each event, as `detail` of a `CustomEvent`. */
export interface ClientEvents {
  /** Converted speech, mono in [-1, 1] at `sampleRateOut`. */
  audio: Float32Array;
  warning: { type: "warning"; code: string; message: string; silenced_ms: number };
  updated: { type: "updated"; voice: Voice; pitch_shift: number; from_sent_ms: number };
  marker: { type: "marker"; id: string | number; received_ms: number; sent_ms: number };
  goingaway: { type: "going_away"; in_s: number };
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
