// @ts-check
/** Which microphone and which loudspeaker. Names are known once the page may use a microphone. */

import { PLAIN_MICROPHONE } from "../audio/graph.js";
import { byId, make } from "./dom.js";
import { text } from "./texts.js";

/** Fill both lists, now and whenever a device comes or goes. @param {() => void} onLoudspeaker */
export function initDevices(onLoudspeaker) {
  byId("loudspeaker-field").hidden = !("setSinkId" in AudioContext.prototype);
  byId("loudspeaker").onchange = onLoudspeaker;
  navigator.mediaDevices?.addEventListener("devicechange", listDevices);
  return listDevices();
}

export async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  fill("microphone", devices, "audioinput");
  fill("loudspeaker", devices, "audiooutput");
}

/** Constraints for the microphone that is chosen. @returns {MediaTrackConstraints} */
export function microphoneConstraints() {
  const deviceId = byId("microphone").value;
  return {
    ...PLAIN_MICROPHONE,
    echoCancellation: byId("speakers").checked,
    ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
  };
}

/**
 * @param {string} id
 * @param {MediaDeviceInfo[]} devices
 * @param {MediaDeviceKind} kind
 */
function fill(id, devices, kind) {
  const select = byId(id);
  const before = select.value;
  const named = devices.filter(
    (device) => device.kind === kind && device.label && device.deviceId !== "default",
  );
  select.replaceChildren(
    make("option", { value: "", "data-i18n": "defaultDevice", text: text("defaultDevice") }),
    ...named.map((device) => make("option", { value: device.deviceId, text: device.label })),
  );
  if (named.some((device) => device.deviceId === before)) select.value = before;
}
