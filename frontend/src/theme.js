import { byId } from './dom.js';

const KEY = 'trackserver.theme';
const ORDER = ['auto', 'light', 'dark'];
const SAYS = { auto: 'Theme: as the system', light: 'Theme: light', dark: 'Theme: dark' };
const ICONS = {
  auto: '<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5a5.5 5.5 0 0 1 0 11z" fill="currentColor"/>',
  light: '<circle cx="8" cy="8" r="3"/><path d="M8 1v2M8 13v2M1 8h2M13 8h2M3 3l1.4 1.4M11.6 11.6 13 13M3 13l1.4-1.4M11.6 4.4 13 3"/>',
  dark: '<path d="M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1z"/>',
};
const COLOURS = ['bg', 'panel', 'ink', 'dim', 'rule', 'pred', 'obs', 'ref', 'alt', 'up', 'down', 'gene', 'mark', 'base-a', 'base-c', 'base-g', 'base-t'];

/**
 * @typedef {Record<'bg' | 'panel' | 'ink' | 'dim' | 'rule' | 'pred' | 'obs' | 'ref' | 'alt' | 'up' | 'down' | 'gene' | 'mark'
 *   | 'base-a' | 'base-c' | 'base-g' | 'base-t', string>} Palette
 */

/**
 * The colours of a theme as the stylesheet has them, for what is drawn on a canvas.
 *
 * @param {'light' | 'dark'} theme
 * @returns {Palette}
 */
export function paletteOf(theme) {
  const probe = document.createElement('i');
  probe.dataset.theme = theme;
  probe.hidden = true;
  document.body.append(probe);
  const style = getComputedStyle(probe);
  const palette = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  probe.remove();
  return /** @type {Palette} */ (palette);
}

/** @returns {'light' | 'dark'} */
export const currentTheme = () => (document.documentElement.dataset.theme === 'dark' ? 'dark' : 'light');

/** Wires the button; calls `changed` after each change, the system's own included. @param {() => void} changed */
export function setUpTheme(changed) {
  const system = matchMedia('(prefers-color-scheme: dark)');
  let choice = remembered();
  const button = byId('theme');
  const apply = () => {
    const dark = choice === 'auto' ? system.matches : choice === 'dark';
    const before = currentTheme();
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${ICONS[choice]}</svg>`;
    button.setAttribute('aria-label', SAYS[choice]);
    button.title = SAYS[choice];
    if (before !== currentTheme()) changed();
  };
  button.addEventListener('click', () => {
    choice = ORDER[(ORDER.indexOf(choice) + 1) % ORDER.length];
    remember(choice);
    apply();
  });
  system.addEventListener('change', apply);
  apply();
}

function remembered() {
  try {
    return localStorage.getItem(KEY) ?? 'auto';
  } catch {
    return 'auto'; // storage is refused in some iframes
  }
}

/** @param {string} choice */
function remember(choice) {
  try {
    if (choice === 'auto') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, choice);
  } catch {
    // Then the choice holds for this page only.
  }
}
