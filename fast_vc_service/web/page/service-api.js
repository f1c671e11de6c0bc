// @ts-check
/** The service's HTTP routes that the page uses: voices and browser tokens. */

import { ServiceError } from "../client/errors.js";

const RENEW_BEFORE_S = 30;
const LOCAL_TOKEN = "fast-vc-local-token";

/**
 * @typedef {object} VoiceInfo
 * @property {string} name
 * @property {string | null} description
 * @property {"folder" | "uploaded"} source
 * @property {boolean} shared
 * @property {boolean} removable
 * @property {number} duration_s
 */
/**
 * @typedef {object} VoiceList
 * @property {string} default
 * @property {boolean} can_upload
 * @property {boolean} can_blend
 * @property {{max_clip_bytes: number, max_clip_s: number, min_clip_s: number}} limits
 * @property {VoiceInfo[]} voices
 */

/**
 * A key stays in this page's memory and is used for one thing: to ask for tokens that expire
 * within minutes. Everything else carries a token.
 */
export class ServiceApi {
  /** @type {string | null} */
  #key = null;
  /** @type {string | null} */
  #token = null;
  #expiresAt = 0;
  /** Stands for being on the machine of the service: from the address that `serve` prints. */
  #local = localToken();

  /** Whether a key was given. */
  get hasKey() {
    return this.#key !== null;
  }

  /**
   * Use `key` from now on.
   * @param {string} key
   * @throws {ServiceError} It is wrong.
   */
  async signIn(key) {
    this.#key = key.trim();
    try {
      await this.#renew();
    } catch (error) {
      this.signOut();
      throw error;
    }
  }

  signOut() {
    this.#key = null;
    this.#token = null;
    this.#expiresAt = 0;
  }

  /**
   * A token that is good for now; undefined when no key was given.
   * @returns {Promise<string | undefined>}
   */
  async token() {
    if (this.#key === null) return undefined;
    if (Date.now() / 1e3 > this.#expiresAt - RENEW_BEFORE_S) await this.#renew();
    return this.#token ?? undefined;
  }

  /** @returns {Promise<VoiceList>} */
  async voices() {
    return (await this.#call("/voices")).json();
  }

  /** The clip a voice was made from. @param {string} name @returns {Promise<Blob>} */
  async sample(name) {
    return (await this.#call(`/voices/${encodeURIComponent(name)}/sample`)).blob();
  }

  /** @param {FormData} form name, clip, description, consent */
  async addVoice(form) {
    return (await this.#call("/voices", { method: "POST", body: form })).json();
  }

  /** @param {string} name */
  async removeVoice(name) {
    await this.#call(`/voices/${encodeURIComponent(name)}`, { method: "DELETE" });
  }

  /** Whether the service answers at all, and in which state it is. */
  async health() {
    try {
      return await (await fetch("/health", { cache: "no-store" })).json();
    } catch {
      return null;
    }
  }

  async #renew() {
    const answer = await checked(
      fetch("/tokens", { method: "POST", headers: { authorization: `Bearer ${this.#key}` } }),
    );
    const { token, expires_in_s: expiresInS } = await answer.json();
    this.#token = token;
    // By this machine's clock, which may differ from the service's.
    this.#expiresAt = Date.now() / 1e3 + expiresInS;
  }

  /** @param {string} path @param {RequestInit} [init] */
  async #call(path, init = {}) {
    const token = (await this.token()) ?? this.#local;
    const headers = new Headers();
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    return checked(fetch(path, { cache: "no-store", ...init, headers }));
  }
}

/**
 * The token in the address that opened the page: kept while the tab is open, and not in the
 * address, which may be shown or shared.
 * @returns {string | undefined}
 */
function localToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found !== null) {
    sessionStorage.setItem(LOCAL_TOKEN, found);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(LOCAL_TOKEN) ?? undefined;
}

/**
 * @param {Promise<Response>} request
 * @returns {Promise<Response>}
 */
async function checked(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new ServiceError("UNREACHABLE", "the service cannot be reached");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new ServiceError(
    body.error_code ?? "HTTP_ERROR",
    body.message ?? response.statusText,
    body.details ?? {},
  );
}
