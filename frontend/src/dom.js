/**
 * Makes an element. Properties that start with "on" are listeners, `class`, `text` and `style` what they say,
 * booleans switch an attribute on or off, and null leaves it away.
 *
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const element = tag === 'svg' || tag.startsWith('svg:')
    ? document.createElementNS('http://www.w3.org/2000/svg', tag.replace('svg:', ''))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'text') element.textContent = value;
    else if (name === 'style') Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * Calls at most once per animation frame.
 *
 * @template {(...args: any[]) => void} F
 * @param {F} action
 * @returns {F}
 */
export function perFrame(action) {
  let frame = 0;
  let last;
  return /** @type {F} */ ((...args) => {
    last = args;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      action(...last);
    });
  });
}

/**
 * Calls once nothing has asked for it any more for a while.
 *
 * @template {(...args: any[]) => void} F
 * @param {F} action @param {number} wait in milliseconds
 * @returns {F}
 */
export function atRest(action, wait) {
  let timer = 0;
  return /** @type {F} */ ((...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...args), wait);
  });
}
