import { api } from './api.js';
import { atRest, byId, h } from './dom.js';
import { FACETS, valuesOf, wanted } from './facets.js';
import { whole } from './format.js';
import { parted, titleOf } from './rows.js';

const FEW = 6; // values of a facet before "all …"
const PAGE = 60; // entries of the list before "more"
const TYPING = 150; // ms until what is typed is looked for

/**
 * The panel of tilesets that can be shown. The server filters and counts: the panel has a page of them at a time.
 *
 * @param {{
 *   shown: () => Set<string>, add: (uid: string) => void, remove: (uid: string) => void,
 *   keep: (tilesets: import('./api.js').Tileset[]) => void, chooseAssembly: (name: string) => void, severalModels: () => boolean,
 * }} parts
 */
export function setUpCatalogue({ shown, add, remove, keep, chooseAssembly, severalModels }) {
  const panel = byId('catalogue');
  const opener = byId('open-catalogue');
  let assembly = '';
  /** @type {import('./facets.js').Choice} */
  const choice = new Map();
  /** Facets that are opened against their default, and those of which all values are shown. */
  const [turned, unfolded] = [new Set(), new Set()];
  /** @type {import('./api.js').Tileset[] | null} none before the first answer */
  let listed = null;
  /** How many fit the choice, and of how many. */
  const number = { found: 0, all: 0 };
  /** @type {import('./api.js').Facets | null} */
  let counted = null;
  let asking = new AbortController();

  const words = h('input', { type: 'search', class: 'filter', placeholder: 'Filter tracks', 'aria-label': 'Filter tracks', 'data-testid': 'filter', oninput: atRest(() => ask(), TYPING) });
  const facets = h('div', { class: 'facets', 'data-testid': 'facets' });
  const count = h('h2', { 'aria-live': 'polite', 'data-testid': 'count' });
  const list = h('ul', { class: 'tilesets', 'data-testid': 'tilesets' });
  const more = h('button', { type: 'button', class: 'link', text: 'Show more', onclick: () => askMore() });
  const close = h('button', { type: 'button', class: 'close only-narrow', 'aria-label': 'Close the catalogue', text: '×', onclick: () => open(false) });
  panel.replaceChildren(h('div', { class: 'sheet-head' }, words, close), facets, count, list, more);

  /** @param {number} offset @param {AbortSignal} signal */
  async function page(offset, signal) {
    const found = await api.tilesets({ ...wanted(words.value, choice, assembly), limit: String(PAGE), offset: String(offset) }, signal);
    keep(found.results);
    return found;
  }

  /** The list and the facets of what is chosen now, each as soon as it is there. */
  function ask() {
    asking.abort();
    asking = new AbortController();
    askList(asking.signal);
    askFacets(asking.signal);
  }

  /** @param {AbortSignal} signal */
  async function askList(signal) {
    try {
      const found = await page(0, signal);
      if (signal.aborted) return;
      [listed, number.found] = [found.results, found.count];
      if (!words.value.trim() && ![...choice.values()].some(({ size }) => size)) number.all = found.count;
      drawList();
    } catch (error) {
      if (!signal.aborted) list.replaceChildren(h('li', { class: 'none', text: error.message }));
    }
  }

  /** @param {AbortSignal} signal */
  async function askFacets(signal) {
    const found = await api.facets(wanted(words.value, choice, assembly), signal).catch(() => null); // the list says what is wrong
    if (signal.aborted) return;
    counted = found;
    drawFacets();
  }

  async function askMore() {
    const { signal } = asking;
    try {
      const found = await page(listed.length, signal);
      if (signal.aborted) return;
      listed = [...listed, ...found.results];
      drawList();
    } catch (error) {
      if (!signal.aborted) list.append(h('li', { class: 'none', text: error.message }));
    }
  }

  function drawFacets() {
    // Pressing a button draws all of them anew: the focus has to find its place again.
    const focused = facets.contains(document.activeElement) ? document.activeElement?.getAttribute('data-value') : null;
    facets.replaceChildren(...FACETS.flatMap((facet) => {
      const values = counted ? valuesOf(counted, choice, facet.key) : [];
      const idle = !choice.get(facet.key)?.size;
      return values.length > 1 || (values.length && !idle) ? [facetGroup(facet, values)] : [];
    }));
    if (focused) facets.querySelector(`[data-value="${CSS.escape(focused)}"]`)?.focus();
  }

  /** @param {import('./facets.js').Facet} facet @param {[string, number][]} values */
  function facetGroup(facet, values) {
    const chosen = choice.get(facet.key);
    const unlisted = counted?.more?.[facet.key] ?? 0;
    const some = unfolded.has(facet.key) ? values : values.filter(([value], index) => index < FEW || chosen?.has(value));
    const isOpen = Boolean(facet.open) !== turned.has(facet.key);
    return h('details', { class: 'facet', open: isOpen, 'data-facet': facet.key },
      h('summary', { 'data-value': `${facet.key}:`, onclick: () => { if (!turned.delete(facet.key)) turned.add(facet.key); } },
        h('h2', { text: facet.title }), h('span', { class: 'count', text: chosen?.size ? `${chosen.size} chosen` : whole(values.length + unlisted) })),
      ...some.map(([value, left]) => facetButton(facet, value, left)),
      values.length > some.length || unfolded.has(facet.key) ? unfoldButton(facet.key, `${unlisted ? 'first' : 'all'} ${whole(values.length)} …`) : null,
      unlisted && unfolded.has(facet.key) ? h('p', { class: 'dim', text: `${whole(unlisted)} more: filter to find them.` }) : null);
  }

  /** @param {import('./facets.js').Facet} facet @param {string} value @param {number} left */
  function facetButton(facet, value, left) {
    const pressed = facet.key === 'assembly' ? value === assembly : choice.get(facet.key)?.has(value) ?? false;
    return h('button', {
      type: 'button', 'aria-pressed': String(pressed), 'data-value': `${facet.key}:${value}`,
      onclick: () => (facet.key === 'assembly' ? chooseAssembly(value) : toggle(facet.key, value)),
    }, h('span', { class: 'label', text: facet.label?.(value) ?? value }), h('span', { class: 'count', text: whole(left) }));
  }

  /** @param {import('./facets.js').Key} key @param {string} value */
  function toggle(key, value) {
    const values = choice.get(key) ?? new Set();
    if (!values.delete(value)) values.add(value);
    choice.set(key, values);
    ask();
  }

  /** @param {string} key @param {string} says */
  function unfoldButton(key, says) {
    return h('button', {
      type: 'button', class: 'link', 'data-value': `${key}:all`, text: unfolded.has(key) ? 'fewer' : says,
      onclick: () => { if (!unfolded.delete(key)) unfolded.add(key); drawFacets(); },
    });
  }

  function drawList() {
    if (!listed) return;
    const on = shown();
    const focused = list.contains(document.activeElement) ? document.activeElement?.getAttribute('data-uid') : null;
    count.textContent = number.found === number.all ? `All ${whole(number.found)}` : `${whole(number.found)} of ${whole(number.all)}`;
    list.replaceChildren(...listed.map((tileset) => entry(tileset, on.has(tileset.uuid))));
    if (!listed.length) list.append(h('li', { class: 'none', text: number.all ? 'No track fits this choice.' : 'This site has no track on this assembly yet.' }));
    more.hidden = number.found <= listed.length;
    if (focused) list.querySelector(`[data-uid="${CSS.escape(focused)}"]`)?.focus();
  }

  /** @param {import('./api.js').Tileset} tileset @param {boolean} on */
  function entry(tileset, on) {
    const origin = tileset.kind === 'predicted' ? ['predicted', severalModels() ? tileset.model : null] : ['measured', tileset.accession];
    const [bold, quiet] = parted(titleOf(tileset));
    return h('li', {}, h('button', {
      type: 'button', 'aria-pressed': String(on), 'data-uid': tileset.uuid, class: tileset.kind,
      title: `${on ? 'Remove' : 'Add'} ${tileset.name}`, onclick: () => (shown().has(tileset.uuid) ? remove : add)(tileset.uuid),
    }, h('i', { class: 'dot', 'aria-hidden': 'true' }),
    h('span', { class: 'what' }, h('b', { text: bold }), quiet ? h('span', { text: quiet }) : null, h('span', { text: origin.filter(Boolean).join(' · ') })),
    h('span', { class: 'sign', 'aria-hidden': 'true', text: on ? '✓' : '+' })));
  }

  /** On a phone the panel is a sheet over the page. @param {boolean} yes */
  function open(yes) {
    panel.classList.toggle('open', yes);
    opener.setAttribute('aria-expanded', String(yes));
    (yes ? words : opener).focus();
  }

  opener.addEventListener('click', () => open(!panel.classList.contains('open')));
  panel.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape' && panel.classList.contains('open')) open(false);
  });

  return {
    /** Lists the tilesets of an assembly. @param {string} name */
    fill(name) {
      assembly = name;
      choice.clear();
      words.value = '';
      listed = null;
      ask();
    },
    /** After rows have come or gone. */
    refresh: drawList,
  };
}
