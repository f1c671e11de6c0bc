// @ts-check
/** The list of voices: choose, blend, listen to, add and remove. */

import { ServiceError } from "../client/errors.js";
import { announce, byId, chosen, make } from "./dom.js";
import { sentenceFor, showNotice } from "./notice.js";
import { text } from "./texts.js";

/** @typedef {import("./service-api.js").ServiceApi} ServiceApi */
/** @typedef {import("./service-api.js").VoiceInfo} VoiceInfo */
/** @typedef {import("./service-api.js").VoiceList} VoiceList */
/** @typedef {import("../client/client.js").Voice} Voice */

export class Voices extends EventTarget {
  /** @param {ServiceApi} api */
  constructor(api) {
    super();
    this._api = api;
    this._player = new Audio();
    /** @type {VoiceList | null} */
    this._list = null;
    byId("blend-voice").onchange = byId("blend-share").onchange = () => this._changed();
    byId("blend-share").oninput = () => this._showShare();
    byId("add-voice").onclick = () => this._openDialog();
    byId("voice-cancel").onclick = () => byId("voice-dialog").close();
    byId("voice-dialog").querySelector("form").onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      this._add();
    };
  }

  /** The voice that is chosen, or the blend. @returns {Voice} */
  get chosen() {
    const [voice, other] = [this._first, byId("blend-voice").value];
    if (!other || other === voice) return voice;
    const share = Number(byId("blend-share").value) / 100;
    return { [voice]: Number((1 - share).toFixed(2)), [other]: share };
  }

  /** What is chosen, for people. */
  get title() {
    const voice = this.chosen;
    if (typeof voice === "string") return voice;
    return Object.entries(voice)
      .map(([name, share]) => `${name} ${Math.round(100 * share)} %`)
      .join(" + ");
  }

  /** Name of the voice in the list that is chosen. */
  get _first() {
    return chosen("voice");
  }

  /** Ask the service anew. @throws {ServiceError} */
  async load(wanted = this._first) {
    this._list = await this._api.voices();
    this.show(wanted);
  }

  /** Draw the list. @param {string} [wanted] name of the voice to choose */
  show(wanted = this._first) {
    const list = this._list;
    if (list === null) return;
    const known = list.voices.some((voice) => voice.name === wanted);
    const choice = known ? wanted : list.default;
    byId("voices").replaceChildren(
      ...list.voices.map((voice) => this._card(voice, voice.name === choice)),
    );
    byId("add-voice").hidden = !list.can_upload;
    byId("blend").hidden = !list.can_blend;
    this._showOthers(list);
  }

  /** Offer every voice but the chosen one for a blend. @param {VoiceList} list */
  _showOthers(list) {
    const select = byId("blend-voice");
    const wanted = select.value;
    const others = list.voices.map(({ name }) => name).filter((name) => name !== this._first);
    select.replaceChildren(
      make("option", { value: "", text: text("blendNone") }),
      ...others.map((name) => make("option", { value: name, text: name })),
    );
    select.value = others.includes(wanted) ? wanted : "";
    this._showShare();
  }

  _showShare() {
    byId("blend-share-field").hidden = byId("blend-voice").value === "";
    byId("blend-value").textContent = `${byId("blend-share").value} %`;
  }

  _changed() {
    if (this._list !== null) this._showOthers(this._list);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {VoiceInfo} voice @param {boolean} checked */
  _card(voice, checked) {
    const radio = /** @type {HTMLInputElement} */ (
      make("input", { type: "radio", name: "voice", value: voice.name })
    );
    radio.checked = checked;
    radio.onchange = () => this._changed();
    const isDefault = voice.name === this._list?.default;
    const badge = isDefault ? "defaultVoice" : voice.source === "uploaded" ? "yours" : null;
    const label = make("label", voice.description ? { title: voice.description } : {}, [
      radio,
      make("span", { class: "name", text: voice.name }),
      ...(badge ? [make("small", { text: text(badge) })] : []),
    ]);
    const listen = make("button", {
      type: "button",
      class: "quiet icon play",
      "aria-label": text("playSample", { name: voice.name }),
    });
    listen.onclick = () => this._play(voice.name, listen);
    const buttons = [listen];
    if (voice.removable) {
      const remove = make("button", {
        type: "button",
        class: "quiet icon remove",
        "aria-label": text("removeVoice", { name: voice.name }),
      });
      remove.onclick = () => this._remove(voice.name);
      buttons.push(remove);
    }
    return make("div", { class: "voice" }, [label, ...buttons]);
  }

  /** @param {string} name @param {HTMLElement} button */
  async _play(name, button) {
    const playing = button.classList.contains("on");
    this._player.pause();
    if (playing) return;
    try {
      const address = URL.createObjectURL(await this._api.sample(name));
      this._player.src = address;
      button.classList.add("on");
      this._player.onpause = () => {
        button.classList.remove("on");
        URL.revokeObjectURL(address);
      };
      await this._player.play();
    } catch (error) {
      button.classList.remove("on");
      showNotice(error);
    }
  }

  /** @param {string} name */
  async _remove(name) {
    if (!confirm(text("removeConfirm", { name }))) return;
    try {
      await this._api.removeVoice(name);
      await this.load();
    } catch (error) {
      showNotice(error);
    }
  }

  _openDialog() {
    const limits = this._list?.limits;
    byId("voice-limits").textContent = text("voiceLimits", {
      min: limits?.min_clip_s ?? 1,
      max: limits?.max_clip_s ?? 120,
      mb: Math.floor((limits?.max_clip_bytes ?? 1e7) / 1e6),
    });
    byId("voice-error").textContent = "";
    byId("voice-dialog").showModal();
  }

  async _add() {
    const name = byId("voice-name").value.trim();
    const form = new FormData();
    form.set("name", name);
    form.set("clip", byId("voice-clip").files[0]);
    form.set("description", byId("voice-description").value);
    form.set("consent", String(byId("voice-consent").checked));
    const submit = byId("voice-submit");
    submit.disabled = true;
    try {
      await this._api.addVoice(form);
      byId("voice-dialog").close();
      byId("voice-dialog").querySelector("form").reset();
      await this.load(name);
      this._changed();
      announce(text("voiceAdded", { name }));
    } catch (error) {
      byId("voice-error").textContent = sentenceFor(error);
      if (!(error instanceof ServiceError)) throw error;
    } finally {
      submit.disabled = false;
    }
  }
}
