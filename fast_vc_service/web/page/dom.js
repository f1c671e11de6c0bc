// @ts-check
/** Short ways to the page's elements. */

/**
 * The element with that id; of which kind it is, the HTML says.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A new element.
 * @param {string} tag
 * @param {Record<string, string>} [attributes] `text` is its content
 * @param {Node[]} [children]
 */
export function make(tag, attributes = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Value of the checked radio button of that name. @param {string} name */
export function chosen(name) {
  const radio = document.querySelector(`input[name="${name}"]:checked`);
  return /** @type {HTMLInputElement | null} */ (radio)?.value ?? "";
}

/** Tell people who listen to the page. @param {string} message */
export function announce(message) {
  byId("status").textContent = message;
}
