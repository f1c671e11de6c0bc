// @ts-check
// Written by scripts/protocol.py from fast_vc_service/protocol; do not edit.

/** Names on the wire of the options that are sent as they are given. */
export const OPTION_NAMES = {
  sessionId: "session_id",
  apiKey: "api_key",
  voice: "voice",
  pitchShift: "pitch_shift",
  realtime: "realtime",
  seed: "seed",
  label: "label",
  sourceF0Hz: "source_f0_hz",
};
