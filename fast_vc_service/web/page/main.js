// @ts-check
/** Ties the page's parts together. */

import { announce, byId, chosen } from "./dom.js";
import { Conversation } from "./conversation.js";
import { initDevices, listDevices, microphoneConstraints } from "./devices.js";
import { initFigures, showFigures } from "./figures.js";
import { convertFile } from "./file-conversion.js";
import { hideNotice, initNotice, showNotice, translateNotice } from "./notice.js";
import { Picture } from "./picture.js";
import { forgetRegister, nameOf, registerOf } from "./registers.js";
import { showRecordings } from "./recordings.js";
import { ServiceApi } from "./service-api.js";
import { askForKey } from "./sign-in.js";
import { currentLanguage, switchLanguage, text, translatePage } from "./texts.js";
import { Voices } from "./voices.js";

const HEALTH_MS = 5000;
const FRAME_MS = matchMedia("(prefers-reduced-motion: reduce)").matches ? 200 : 30;
const SOCKET_URL = new URL("ws", location.href.replace(/^http/, "ws")).href;

/** What the button does in each state. */
const LABELS = {
  idle: "start",
  starting: "cancel",
  live: "stop",
  reconnecting: "cancel",
  stopping: "stop",
};

const api = new ServiceApi();
const voices = new Voices(api);
const pictures = {
  input: new Picture(byId("input-canvas"), byId("input-meter")),
  output: new Picture(byId("output-canvas"), byId("output-meter")),
};
/** @type {Conversation | null} */
let conversation = null;
/** @type {ArrayBuffer | null} */
let file = null;

// ------------------------------------------------------------------ start and stop

async function start() {
  hideNotice();
  byId("recordings").hidden = true;
  const fromFile = chosen("source") === "file";
  if (!isSecureContext) {
    showNotice(Object.assign(new Error(), { name: "Insecure" }));
    return;
  }
  if (fromFile && file === null) {
    byId("file").click();
    return;
  }
  const talk = new Conversation({
    url: SOCKET_URL,
    key: () => api.token(),
    voice: voices.chosen || undefined,
    pitchShift: Number(byId("pitch").value),
    encoding: byId("encoding").value,
    source:
      fromFile && file !== null ? { file } : { constraints: microphoneConstraints() },
    loudspeaker: byId("loudspeaker").value,
  });
  conversation = talk;
  talk.addEventListener("state", () => showState(talk));
  talk.addEventListener("notice", (event) => {
    const notice = /** @type {CustomEvent} */ (event).detail;
    if (notice === null) hideNotice();
    else tellError(notice.error, notice.retryInS);
  });
  talk.addEventListener("figures", (event) =>
    showFigures(/** @type {CustomEvent} */ (event).detail),
  );
  talk.addEventListener("finished", () => finished(talk));
  document.body.classList.add("begun");
  byId("input-name").textContent = fromFile ? byId("file-name").textContent : "";
  showVoice();
  talk.setVolume(Number(byId("volume").value));
  talk.listenToOwn(chosen("listen") === "own");
  try {
    await talk.start();
    listDevices();
  } catch (error) {
    tellError(error);
  }
}

/** @param {Conversation} talk */
function finished(talk) {
  showFigures(talk.figures(), true);
  if (talk.input && talk.output && talk.input.seconds > 0) {
    showRecordings(talk.input, talk.output, voices.title);
  }
  for (const picture of Object.values(pictures)) picture.rest();
  if (conversation === talk) conversation = null;
  showRegister();
  showHealth();
}

/** @param {Conversation} talk */
function showState(talk) {
  const { state } = talk;
  document.body.dataset.state = state;
  const label = LABELS[state];
  byId("start-text").dataset.i18n = label;
  byId("start-text").textContent = text(label);
  announce(text(`state_${state}`));
  for (const radio of document.querySelectorAll('input[name="source"]')) {
    /** @type {HTMLInputElement} */ (radio).disabled = state !== "idle";
  }
  showHealth();
}

/** @param {unknown} error @param {number | null} [retryInS] */
async function tellError(error, retryInS = null) {
  const code = /** @type {{code?: unknown}} */ (error)?.code;
  if (code === "AUTH_FAILED") {
    api.signOut();
    if (await signIn()) return;
  }
  if (code === "UNKNOWN_VOICE") voices.load().catch(() => {});
  showNotice(error, retryInS);
}

// ------------------------------------------------------------------ the service

/** Load the voices, asking for a key when the service wants one. */
async function loadVoices() {
  try {
    await voices.load();
  } catch (error) {
    const wantsKey = /** @type {{code?: unknown}} */ (error)?.code === "AUTH_FAILED";
    if (wantsKey) await signIn();
    else showNotice(error);
  }
}

async function signIn() {
  const signedIn = await askForKey(api);
  byId("sign-out").hidden = !signedIn;
  if (signedIn) await voices.load();
  return signedIn;
}

async function showHealth() {
  const health = await api.health();
  const full = health?.state === "ready" && health.sessions.live >= health.sessions.capacity;
  const live = conversation !== null && conversation.state !== "idle";
  const slow = health?.state === "ready" && health.warnings?.length > 0;
  const ready = full && !live ? "full" : slow ? "slow" : health?.state;
  const state = health === null ? "gone" : ready;
  byId("service").dataset.state = state;
  const name = health?.engine ? ` · ${health.engine}` : "";
  byId("service-text").textContent = text(`service_${state}`) + name;
  byId("service").title = health?.warnings?.join("\n") ?? "";
}

// ------------------------------------------------------------------ a whole file

async function takeFile(/** @type {File | undefined} */ picked) {
  if (!picked) return;
  file = await picked.arrayBuffer();
  byId("file-name").textContent = picked.name;
  delete byId("file-name").dataset.i18n;
  byId("convert").disabled = false;
}

async function convertWhole() {
  if (file === null) return;
  hideNotice();
  byId("recordings").hidden = true;
  const progress = byId("convert-progress");
  byId("convert").disabled = true;
  progress.hidden = false;
  progress.value = 0;
  announce(text("converting"));
  try {
    const options = {
      url: SOCKET_URL,
      apiKey: await api.token(),
      voice: voices.chosen || undefined,
      pitchShift: Number(byId("pitch").value),
    };
    const done = await convertFile(file, options, (share) => (progress.value = share));
    showRecordings(done.input, done.output, voices.title);
    announce(text("convertDone"));
  } catch (error) {
    tellError(error);
  } finally {
    progress.hidden = true;
    byId("convert").disabled = false;
  }
}

// ------------------------------------------------------------------ controls

function showSource() {
  const fromFile = chosen("source") === "file";
  byId("microphone-panel").hidden = fromFile;
  byId("file-panel").hidden = !fromFile;
}

/** What is remembered of who speaks into the chosen microphone. */
function showRegister() {
  const known = registerOf(nameOf(microphoneConstraints()));
  byId("register").hidden = known === undefined;
  byId("register-text").textContent = text("registerKnown", { value: String(Math.round(known ?? 0)) });
}

function showVoice() {
  byId("output-name").textContent = voices.title;
}

function showPitch() {
  const value = Number(byId("pitch").value);
  const signed = `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value)}`;
  byId("pitch-value").textContent = text("semitones", { value: signed });
}

function showListening() {
  const own = chosen("listen") === "own";
  byId("own-banner").hidden = !own;
  document.body.classList.toggle("hears-own", own);
  conversation?.listenToOwn(own);
}

function translate() {
  translatePage();
  byId("language").textContent = text("language");
  byId("language").setAttribute("aria-label", text("languageLabel"));
  byId("language").lang = currentLanguage() === "en" ? "zh-CN" : "en";
  byId("theme").setAttribute("aria-label", text("themeLabel"));
  showPitch();
  showRegister();
  voices.show();
  translateNotice();
  showHealth();
}

function switchTheme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("fast-vc.theme", root.dataset.theme);
  for (const picture of Object.values(pictures)) picture.fit();
}

function wire() {
  byId("start").onclick = () => {
    if (conversation === null) start();
    else conversation.stop();
  };
  initNotice({ onRetry: () => conversation?.retryNow() });
  byId("convert").onclick = convertWhole;
  byId("file").onchange = () => takeFile(byId("file").files[0]);
  const drop = byId("drop");
  drop.ondragover = (/** @type {DragEvent} */ event) => event.preventDefault();
  drop.ondrop = (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    takeFile(event.dataTransfer?.files[0]);
  };
  for (const radio of document.querySelectorAll('input[name="source"]')) {
    radio.addEventListener("change", showSource);
  }
  for (const radio of document.querySelectorAll('input[name="listen"]')) {
    radio.addEventListener("change", showListening);
  }
  voices.addEventListener("change", () => {
    conversation?.update({ voice: voices.chosen });
    showVoice();
  });
  byId("pitch").oninput = showPitch;
  byId("pitch").onchange = () =>
    conversation?.update({ pitchShift: Number(byId("pitch").value) });
  byId("volume").oninput = () => conversation?.setVolume(Number(byId("volume").value));
  byId("sign-out").onclick = () => {
    api.signOut();
    location.reload();
  };
  byId("language").onclick = () => {
    switchLanguage();
    translate();
  };
  byId("theme").onclick = switchTheme;
  byId("microphone").onchange = byId("speakers").onchange = () => {
    showRegister();
    conversation?.switchMicrophone(microphoneConstraints()).catch(showNotice);
  };
  byId("forget-register").onclick = () => {
    forgetRegister(nameOf(microphoneConstraints()));
    showRegister();
  };
  initDevices(() =>
    conversation?.graph?.setLoudspeaker(byId("loudspeaker").value).catch(showNotice),
  );
}

let drawnAt = performance.now();

function draw(/** @type {number} */ now) {
  requestAnimationFrame(draw);
  if (now - drawnAt < FRAME_MS) return;
  const seconds = Math.min(1, (now - drawnAt) / 1e3);
  drawnAt = now;
  const graph = conversation?.graph;
  if (graph && conversation?.state !== "starting") {
    pictures.input.draw(graph.inputAnalyser, seconds);
    pictures.output.draw(graph.outputAnalyser, seconds);
    const spoken = Math.floor(conversation?.input?.seconds ?? 0);
    byId("clock").textContent = `${Math.floor(spoken / 60)}:${String(spoken % 60).padStart(2, "0")}`;
  }
}

initFigures();
wire();
translate();
showSource();
showListening();
if (!isSecureContext) showNotice(Object.assign(new Error(), { name: "Insecure" }));
loadVoices();
setInterval(showHealth, HEALTH_MS);
requestAnimationFrame(draw);
document.body.dataset.state = "idle";
