import { byId, h } from './dom.js';
import { number } from './format.js';
import { scaled } from './viewconf.js';

/**
 * Predicted and measured on scales of their own, where it is their shapes that are compared: a prediction often has
 * another unit than the measurement.
 */

const SAYS = 'Each is drawn up to the 99th percentile of its own values in view (its largest where that is 0); what is higher is cut off. The first number is that of the prediction.';

/** The end of a scale for values: their 99th percentile; of values that are nearly all 0, the largest. @param {number[]} values */
export function topOf(values) {
  const sorted = Float64Array.from(values).sort();
  const place = 0.99 * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
  return [below + (above - below) * (place % 1), sorted.at(-1)].find((top) => top > 0) ?? 1;
}

/** What the margin says of a pair's scales, which are the measured and the predicted one. @param {[number, number][]} scales */
export const shapesFigure = ([observed, predicted]) => h('span', { class: 'shapes', title: SAYS },
  h('span', { class: 'long', text: 'each to its own 99th percentile' }), h('span', { class: 'short', 'aria-hidden': 'true', text: 'own p99' }),
  ': ', h('b', { text: number(predicted[1]) }), ` and ${number(observed[1])}`);

/**
 * The button that turns it on and off, and the scales while it is on.
 *
 * @param {{browser: import('./browser.js').Browser, rows: () => import('./rows.js').Row[], isOn: () => boolean, turn: (on: boolean) => void}} parts
 */
export function setUpShapes({ browser, rows, isOn, turn }) {
  const button = byId('shapes');
  /** @type {Set<string>} tracks whose scale has been set here */
  const fitted = new Set();
  const tracks = () => rows().filter(({ kind }) => kind === 'pair').flatMap(scaled);
  button.title = `Draw predicted and measured each on its own scale. ${SAYS}`;
  button.addEventListener('click', () => turn(!isOn()));

  return {
    /** Scales every track to what is in view of it now, once its tiles are there. */
    fit() {
      for (const uid of isOn() ? tracks() : []) {
        const values = browser.values(uid);
        if (!values.length) continue;
        browser.setScale(uid, topOf(values));
        fitted.add(uid);
      }
    },
    /** Brings button and scales to the page's state; before HiGlass is, lest a lock finds fixed scales. */
    draw() {
      button.hidden = !tracks().length;
      button.setAttribute('aria-pressed', String(isOn()));
      if (isOn()) return;
      for (const uid of fitted) browser.setScale(uid);
      fitted.clear();
    },
  };
}
