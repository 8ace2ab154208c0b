import { opensDialog } from './dialog.js';
import { byId, h } from './dom.js';

const EMBED_BAR = 40; // the bar above the tracks in an iframe, in pixels

/**
 * The dialog with a link and a piece of HTML to the view as it is now.
 *
 * @param {{store: () => Promise<{url: string, embed: string, title: string, height: number}>, failed: (error: Error) => void}} parts
 */
export function setUpShare({ store, failed }) {
  const dialog = byId('share-dialog');
  const button = byId('share');

  opensDialog(button, dialog, async () => fill(await store()), failed);

  /** @param {{url: string, embed: string, title: string, height: number}} view */
  function fill({ url, embed, title, height }) {
    const link = new URL(url, window.location.origin).href;
    const frame = h('iframe', {
      src: new URL(embed, window.location.origin).href, title, width: '100%', height: height + EMBED_BAR, loading: 'lazy', style: { border: '0' },
    });
    dialog.replaceChildren(
      h('form', { method: 'dialog', class: 'dialog-head' }, h('h1', { id: 'share-title', text: 'Share this view' }),
        h('button', { class: 'close', 'aria-label': 'Close', text: '×' })),
      h('p', { class: 'dim', text: title }),
      field('Link', 'share-link', h('input', { id: 'share-link', readonly: true, value: link, 'data-testid': 'share-link' })),
      field('For a web page', 'share-embed', h('textarea', { id: 'share-embed', readonly: true, rows: 4, 'data-testid': 'share-embed', text: frame.outerHTML })),
    );
  }
}

/** @param {string} label @param {string} id @param {any} input */
function field(label, id, input) {
  const says = h('span', { class: 'says', role: 'status' });
  const copy = h('button', {
    type: 'button', class: 'button', text: 'Copy', onclick: async () => {
      input.select();
      try {
        await navigator.clipboard.writeText(input.value);
        says.textContent = 'Copied.';
      } catch {
        // No clipboard outside https: the text is selected, so that the keyboard can do it.
        says.textContent = 'Selected: press Ctrl+C or ⌘C.';
      }
    },
  });
  input.addEventListener('focus', () => input.select());
  return h('div', { class: 'field' }, h('label', { for: id, text: label }), h('div', { class: 'with-button' }, input, copy), says);
}
