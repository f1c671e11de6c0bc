// A program of a user's: what the client's types allow, and what they do not.

import { convert, ServiceError, VoiceClient } from "../../fast_vc_service/web/client/client.js";

export async function talk(samples: Float32Array): Promise<number> {
  const client = new VoiceClient("ws://localhost:8042/ws", { voice: { alto: 0.6, bass: 0.4 } });
  client.addEventListener("audio", (event) => event.detail.length);
  client.addEventListener("close", ({ detail }) => detail?.retryAfterS);
  const ready = await client.connect();
  client.send(samples);
  client.update({ voice: "bass", pitchShift: 2 });
  // @ts-expect-error: semitones are a number
  client.update({ pitchShift: "2" });
  // @ts-expect-error: what comes with a warning is no samples
  client.addEventListener("warning", ({ detail }) => detail.length);
  // @ts-expect-error: there is no such encoding
  new VoiceClient("ws://localhost:8042/ws", { encoding: "MP3" });
  const stats = await client.end();
  return ready.latency_ms + stats.sent_ms;
}

export async function whole(samples: Float32Array): Promise<Float32Array | string> {
  try {
    return (await convert("ws://localhost:8042/ws", samples, { onProgress: console.log })).samples;
  } catch (error) {
    return error instanceof ServiceError ? error.code : "";
  }
}
