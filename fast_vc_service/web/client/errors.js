// @ts-check
/** Errors of the service, as `VoiceClient` and the HTTP calls raise them. */

/** An error that the service told, or that told itself by how the line ended. */
export class ServiceError extends Error {
  /**
   * @param {string} code Error code of the service, e.g. `BUSY`; `UNREACHABLE` when no connection
   *   came about, `CONNECTION_LOST` when it broke.
   * @param {string} message One sentence.
   * @param {Record<string, unknown>} [details] `expected`, `got`, `hint`, `retry_after_s`, …
   */
  constructor(code, message, details = {}) {
    super(message);
    this.name = "ServiceError";
    this.code = code;
    this.details = details;
  }

  /** Seconds after which trying again makes sense; null when the service named none. */
  get retryAfterS() {
    const seconds = this.details.retry_after_s;
    return typeof seconds === "number" ? seconds : null;
  }
}
