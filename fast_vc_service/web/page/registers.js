// @ts-check
/**
 * Registers of speakers, remembered in this browser by the microphone they speak into, so that who
 * returns is in the right register from the first word.
 */

const STORED = "fast-vc.registers";

/** @returns {Record<string, unknown>} */
function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "{}") ?? {};
  } catch {
    return {}; // no storage, or not ours
  }
}

/** @param {Record<string, unknown>} registers */
function store(registers) {
  try {
    localStorage.setItem(STORED, JSON.stringify(registers));
  } catch {
    // A browser that keeps nothing: first words are estimated.
  }
}

/**
 * Median F0 in Hz of who spoke into that microphone last.
 * @param {string} microphone
 * @returns {number | undefined}
 */
export function registerOf(microphone) {
  const f0 = stored()[microphone];
  return typeof f0 === "number" && f0 >= 50 && f0 <= 1100 ? f0 : undefined;
}

/** @param {string} microphone @param {number} f0 Hz */
export function rememberRegister(microphone, f0) {
  store({ ...stored(), [microphone]: Math.round(f0 * 10) / 10 });
}

/** @param {string} microphone */
export function forgetRegister(microphone) {
  const { [microphone]: _gone, ...others } = stored();
  store(others);
}

/** What a microphone is remembered by. @param {MediaTrackConstraints} constraints */
export function nameOf({ deviceId }) {
  const exact = /** @type {{exact?: string} | undefined} */ (deviceId)?.exact;
  return exact ?? "default";
}
