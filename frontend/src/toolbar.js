import { atRest, byId, h } from './dom.js';
import { bases } from './format.js';
import { locusText } from './genome.js';

const ICONS = {
  left: 'M10 3 5 8l5 5', right: 'm6 3 5 5-5 5', out: 'M3 8h10', in: 'M3 8h10M8 3v10',
};

/** How a button, or a key on the tracks, moves what is in view. */
const MOVES = {
  left: { label: 'Move left', keys: ['ArrowLeft'], shift: -0.4, zoom: 1 },
  right: { label: 'Move right', keys: ['ArrowRight'], shift: 0.4, zoom: 1 },
  out: { label: 'Zoom out', keys: ['-', '_'], shift: 0, zoom: 2 },
  in: { label: 'Zoom in', keys: ['+', '='], shift: 0, zoom: 0.5 },
};

/**
 * The next thing to show: at least ten bases, at most the genome, and no more than a quarter of the view beyond its ends.
 *
 * @param {[number, number]} domain @param {{shift: number, zoom: number}} move @param {number} length of the genome
 * @returns {[number, number]}
 */
export function moved([from, to], { shift, zoom }, length) {
  const width = to - from;
  const next = Math.max(width * zoom, 10);
  if (next >= length) return [0, length];
  const start = (from + to) / 2 + width * shift - next / 2;
  const inside = Math.min(Math.max(start, -next / 4), length - next * 0.75);
  return [inside, inside + next];
}

/**
 * @param {{browser: import('./browser.js').Browser, assembly: () => import('./genome.js').Assembly, moved: (locus: string) => void}} parts
 */
export function setUpToolbar({ browser, assembly, moved: told }) {
  const locus = h('output', { id: 'locus', 'data-testid': 'locus', 'aria-label': 'In view' });
  const width = h('span', { class: 'dim' });
  const go = (/** @type {keyof typeof MOVES} */ name) => browser.zoomTo(moved(browser.domain(), MOVES[name], assembly().length));
  const button = (/** @type {keyof typeof MOVES} */ name) => {
    const element = h('button', { type: 'button', class: 'button icon', 'aria-label': MOVES[name].label, title: MOVES[name].label, 'data-move': name, onclick: () => go(name) });
    element.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`;
    return element;
  };
  byId('controls').replaceChildren(
    h('div', { class: 'group', 'data-group': 'move' }, button('left'), button('right')),
    h('div', { class: 'group', 'data-group': 'zoom' }, button('out'), button('in')), locus, width);

  byId('stage').addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const name = /** @type {keyof typeof MOVES} */ (Object.keys(MOVES).find((each) => MOVES[each].keys.includes(event.key)));
    if (!name) return;
    event.preventDefault();
    go(name);
  });

  // The address follows once the view rests: browsers refuse many changes in a row.
  const tell = atRest((/** @type {[number, number]} */ domain) => told(locusText(assembly(), domain, (value) => String(Math.round(value)))), 250);
  const draw = () => {
    const domain = browser.domain();
    locus.textContent = locusText(assembly(), domain);
    width.textContent = bases(domain[1] - domain[0]);
    tell(domain);
  };
  browser.onMove(draw);
  return { draw };
}
