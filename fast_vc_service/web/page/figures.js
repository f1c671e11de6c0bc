// @ts-check
/** The latency panel: the total, its parts as a bar and a list, and how the stream fares. */

import { byId, make } from "./dom.js";
import { text } from "./texts.js";

const PARTS = ["input", "block", "model", "way", "buffer", "output"];
const REFRESH_MS = 250;

let drawnAt = 0;

/** Build the bar and the list. */
export function initFigures() {
  byId("bar").replaceChildren(...PARTS.map((part) => make("i", { class: `part-${part}` })));
  byId("parts").replaceChildren(
    ...PARTS.map((part) =>
      make("div", { class: `part-${part}` }, [
        make("dt", { "data-i18n": `part_${part}` }),
        make("dd", { id: `part-${part}`, text: "–" }),
      ]),
    ),
  );
}

/**
 * @param {ReturnType<import("./conversation.js").Conversation["figures"]>} figures
 * @param {boolean} [now] even if the last time was only just
 */
export function showFigures(figures, now = false) {
  if (!now && performance.now() - drawnAt < REFRESH_MS) return;
  drawnAt = performance.now();
  const { latency } = figures;
  if (latency !== null) {
    byId("latency").textContent = ms(latency.totalS);
    const parts = /** @type {Record<string, number>} */ (latency.parts);
    for (const [index, part] of PARTS.entries()) {
      const segment = /** @type {HTMLElement} */ (byId("bar").children[index]);
      segment.style.flexGrow = String(Math.max(0, parts[part] * 1e3));
      byId(`part-${part}`).textContent = `${ms(parts[part])} ms`;
    }
  }
  byId("silenced").textContent = `${Math.round(figures.silencedMs)} ms`;
  byId("underruns").textContent = String(figures.underruns);
  const coded = figures.encoding === "OPUS" ? "Opus" : figures.encoding;
  const rate = figures.sampleRate && `${figures.sampleRate / 1e3} kHz`;
  byId("stream").textContent = [coded, rate].filter(Boolean).join(" · ") || "–";
  byId("computing").textContent = figures.stats
    ? `${Math.round(figures.stats.latency_p95_ms)} ms`
    : "–";
  byId("server-recording").textContent = figures.recordedByService ? text("serverRecords") : "";
}

/** @param {number} seconds */
function ms(seconds) {
  return String(Math.round(seconds * 1e3));
}
