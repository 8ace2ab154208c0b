import { byId, h } from './dom.js';
import { counts, FACETS, filter, isSignal } from './facets.js';
import { whole } from './format.js';
import { parted, titleOf } from './rows.js';

const FEW = 6; // values of a facet before "all …"
const PAGE = 60; // entries of the list before "more"

/**
 * The panel of tilesets that can be shown.
 *
 * @param {{shown: () => Set<string>, add: (uid: string) => void, remove: (uid: string) => void}} parts
 */
export function setUpCatalogue({ shown, add, remove }) {
  const panel = byId('catalogue');
  const opener = byId('open-catalogue');
  /** @type {import('./api.js').Tileset[]} */
  let tilesets = [];
  /** @type {import('./facets.js').Choice} */
  const choice = new Map();
  const unfolded = new Set();
  /** With one model only, its name says nothing here. */
  let models = new Set();
  let listed = PAGE;

  const words = h('input', { type: 'search', class: 'filter', placeholder: 'Filter tracks', 'aria-label': 'Filter tracks', 'data-testid': 'filter', oninput: () => fromStart() });
  const facets = h('div', { class: 'facets' });
  const count = h('h2', { 'aria-live': 'polite' });
  const list = h('ul', { class: 'tilesets', 'data-testid': 'tilesets' });
  const more = h('button', { type: 'button', class: 'link', text: 'Show more', onclick: () => { listed += PAGE; drawList(); } });
  const close = h('button', { type: 'button', class: 'close only-narrow', 'aria-label': 'Close the catalogue', text: '×', onclick: () => open(false) });
  panel.replaceChildren(h('div', { class: 'sheet-head' }, words, close), facets, count, list, more);

  function fromStart() {
    listed = PAGE;
    draw();
  }

  function drawFacets() {
    // Pressing a button draws all of them anew: the focus has to find its place again.
    const focused = panel.contains(document.activeElement) ? document.activeElement?.getAttribute('data-value') : null;
    facets.replaceChildren(...FACETS.flatMap((facet) => {
      const values = counts(tilesets, words.value.trim(), choice, facet.key);
      const idle = !choice.get(facet.key)?.size;
      if (!values.length || (idle && values.length < 2)) return [];
      const whole_ = unfolded.has(facet.key) ? values : values.filter(([value], index) => index < FEW || choice.get(facet.key)?.has(value));
      const id = `facet-${facet.key}`;
      return [h('div', { class: 'facet', role: 'group', 'aria-labelledby': id },
        h('h2', { id, text: facet.title }),
        ...whole_.map(([value, number]) => facetButton(facet, value, number)),
        values.length > whole_.length || unfolded.has(facet.key) ? unfoldButton(facet.key, values.length) : null)];
    }));
    if (focused) facets.querySelector(`[data-value="${CSS.escape(focused)}"]`)?.focus();
  }

  /** @param {import('./facets.js').Facet} facet @param {string} value @param {number} number */
  function facetButton(facet, value, number) {
    return h('button', {
      type: 'button', 'aria-pressed': String(choice.get(facet.key)?.has(value) ?? false), 'data-value': `${facet.key}:${value}`,
      onclick: () => {
        const values = choice.get(facet.key) ?? new Set();
        if (!values.delete(value)) values.add(value);
        choice.set(facet.key, values);
        fromStart();
      },
    }, h('span', { class: 'label', text: facet.label?.(value) ?? value }), h('span', { class: 'count', text: whole(number) }));
  }

  /** @param {string} key @param {number} number */
  function unfoldButton(key, number) {
    const open = unfolded.has(key);
    return h('button', {
      type: 'button', class: 'link', 'data-value': `${key}:`, text: open ? 'fewer' : `all ${number} …`,
      onclick: () => { if (!unfolded.delete(key)) unfolded.add(key); drawFacets(); },
    });
  }

  function drawList() {
    const found = filter(tilesets, words.value.trim(), choice);
    const on = shown();
    const focused = list.contains(document.activeElement) ? document.activeElement?.getAttribute('data-uid') : null;
    count.textContent = found.length === tilesets.length ? `All ${whole(found.length)}` : `${whole(found.length)} of ${whole(tilesets.length)}`;
    list.replaceChildren(...found.slice(0, listed).map((tileset) => entry(tileset, on.has(tileset.uuid))));
    if (!found.length) list.append(h('li', { class: 'none', text: tilesets.length ? 'No track fits this choice.' : 'This site has no track on this assembly yet.' }));
    more.hidden = found.length <= listed;
    if (focused) list.querySelector(`[data-uid="${CSS.escape(focused)}"]`)?.focus();
  }

  /** @param {import('./api.js').Tileset} tileset @param {boolean} on */
  function entry(tileset, on) {
    const origin = tileset.kind === 'predicted' ? ['predicted', models.size > 1 ? tileset.model : null] : ['measured', tileset.accession];
    const [bold, quiet] = parted(titleOf(tileset));
    return h('li', {}, h('button', {
      type: 'button', 'aria-pressed': String(on), 'data-uid': tileset.uuid, class: tileset.kind,
      title: `${on ? 'Remove' : 'Add'} ${tileset.name}`, onclick: () => (shown().has(tileset.uuid) ? remove : add)(tileset.uuid),
    }, h('i', { class: 'dot', 'aria-hidden': 'true' }),
    h('span', { class: 'what' }, h('b', { text: bold }), quiet ? h('span', { text: quiet }) : null, h('span', { text: origin.filter(Boolean).join(' · ') })),
    h('span', { class: 'sign', 'aria-hidden': 'true', text: on ? '✓' : '+' })));
  }

  function draw() {
    drawFacets();
    drawList();
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
    /** @param {import('./api.js').Tileset[]} all @param {string} assembly */
    fill(all, assembly) {
      tilesets = all.filter((tileset) => isSignal(tileset) && tileset.coordSystem === assembly)
        .sort((a, b) => titleOf(a).localeCompare(titleOf(b), 'en', { numeric: true }) || String(b.kind).localeCompare(String(a.kind)));
      models = new Set(tilesets.map(({ model }) => model).filter(Boolean));
      choice.clear();
      fromStart();
    },
    /** After rows have come or gone. */
    refresh: drawList,
  };
}
