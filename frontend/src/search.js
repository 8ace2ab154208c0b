import { api } from './api.js';
import { byId, h } from './dom.js';
import { whole } from './format.js';

/**
 * The one box: suggestions while typing, arrows to choose, Enter to go.
 *
 * @typedef {{text: string, label: string, hint: string}} Suggestion
 * @param {{genes: () => string | null, examples: () => {text: string, label: string}[], go: (text: string) => void}} parts
 */
export function setUpSearch({ genes, examples, go }) {
  const input = byId('q');
  const list = byId('suggestions');
  /** @type {Suggestion[]} */
  let shown = [];
  let chosen = -1;
  let request = new AbortController();

  for (const [name, value] of Object.entries({
    role: 'combobox', 'aria-autocomplete': 'list', 'aria-controls': list.id, 'aria-expanded': 'false',
  })) input.setAttribute(name, value);
  list.setAttribute('role', 'listbox');
  list.setAttribute('aria-label', 'Suggestions');

  /** @param {Suggestion[]} suggestions */
  function show(suggestions) {
    shown = suggestions;
    list.replaceChildren(...shown.map(({ label, hint }, index) => h('li', {
      id: `suggestion-${index}`, role: 'option', 'aria-selected': 'false',
      // Before the box loses its focus, which would close the list.
      onpointerdown: (/** @type {Event} */ event) => event.preventDefault(), onclick: () => submit(shown[index].text),
    }, h('b', { text: label }), h('span', { text: hint }))));
    list.hidden = !shown.length;
    input.setAttribute('aria-expanded', String(!list.hidden));
    choose(-1);
  }

  /** @param {number} index */
  function choose(index) {
    chosen = index;
    [...list.children].forEach((item, place) => item.setAttribute('aria-selected', String(place === index)));
    if (index < 0) input.removeAttribute('aria-activedescendant');
    else input.setAttribute('aria-activedescendant', `suggestion-${index}`);
    list.children[index]?.scrollIntoView({ block: 'nearest' });
  }

  /** @param {string} text */
  function submit(text) {
    request.abort();
    show([]);
    input.value = text;
    // On a phone the keyboard covers half of what is asked for.
    if (matchMedia('(pointer: coarse)').matches) input.blur();
    if (text.trim()) go(text.trim());
  }

  async function suggest() {
    request.abort();
    request = new AbortController();
    const { signal } = request;
    const text = input.value.trim();
    if (!text) {
      show(examples().map((example) => ({ text: example.text, label: example.text, hint: example.label })));
      return;
    }
    const uid = genes();
    if (!uid || /[:>]/.test(text)) return show([]);
    try {
      const found = await api.suggest(uid, text, signal);
      if (signal.aborted || document.activeElement !== input) return;
      show(found.slice(0, 8).map((gene) => ({
        text: gene.geneName, label: gene.geneName, hint: `${gene.chr}:${whole(gene.txStart + 1)}-${whole(gene.txEnd)}`,
      })));
    } catch {
      // Suggestions are a convenience: what is typed can still be searched for.
      if (!signal.aborted) show([]);
    }
  }

  input.addEventListener('input', suggest);
  input.addEventListener('focus', () => {
    input.select();
    if (!input.value.trim()) suggest();
  });
  input.addEventListener('blur', () => show([]));
  input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape') return show([]);
    if (!shown.length || !['ArrowDown', 'ArrowUp'].includes(event.key)) return;
    event.preventDefault();
    const step = event.key === 'ArrowDown' ? 1 : -1;
    choose((chosen + step + shown.length + (chosen < 0 && step < 0 ? 1 : 0)) % shown.length);
  });
  byId('search').addEventListener('submit', (/** @type {Event} */ event) => {
    event.preventDefault();
    submit(chosen < 0 ? input.value : shown[chosen].text);
  });

  return {
    /** @param {string} text */
    write(text) {
      input.value = text;
    },
    focus: () => input.focus(),
  };
}
