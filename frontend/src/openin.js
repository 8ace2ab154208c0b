import { api } from './api.js';
import { opensDialog } from './dialog.js';
import { byId, h } from './dom.js';

/** The browsers, as their people call them. @type {[('ucsc' | 'igv' | 'jbrowse' | 'washu'), string][]} */
const BROWSERS = [['ucsc', 'UCSC Genome Browser'], ['igv', 'IGV'], ['jbrowse', 'JBrowse'], ['washu', 'WashU Epigenome Browser']];

/**
 * The dialog with links to the tracks on screen in other genome browsers. Without a server that makes them there is none.
 *
 * @param {{shown: () => {d: string[], locus: string, assembly: string, effect: boolean}, failed: (error: Error) => void}} parts
 */
export function setUpOpenIn({ shown, failed }) {
  const dialog = byId('open-dialog');
  const button = byId('open-in');
  const ask = (/** @type {ReturnType<typeof shown>} */ { d, locus, assembly }) => api.open({ d, locus, assembly });
  /** @type {boolean | null} whether the server makes links; null before it was asked */
  let offered = null;

  opensDialog(button, dialog, async () => {
    const now = shown();
    fill(await ask(now), now.effect);
  }, failed);

  /** @param {import('./api.js').Elsewhere} found @param {boolean} effect */
  function fill(found, effect) {
    const links = BROWSERS.filter(([key]) => found[key]);
    dialog.replaceChildren(
      h('form', { method: 'dialog', class: 'dialog-head' }, h('h1', { id: 'open-title', text: 'Open these tracks in' }),
        h('button', { class: 'close', 'aria-label': 'Close', text: '×' })),
      h('ul', { class: 'elsewhere', 'data-testid': 'elsewhere' }, ...links.map(([key, name]) => h('li', {}, h('a', {
        href: found[key], target: '_blank', rel: 'noopener', 'data-browser': key, text: name,
      })))),
      links.length ? '' : h('p', { text: 'No other browser can show them.' }),
      found.note ? h('p', { class: 'dim', text: found.note }) : '',
      found.left_out.length ? h('p', { class: 'dim', text: `Left out: ${found.left_out.map(({ name, reason }) => `${name} (${reason})`).join('; ')}.` }) : '',
      effect ? h('p', { class: 'dim', text: 'REF, ALT and Δ of the variant stay here.' }) : '',
    );
  }

  return {
    /** After rows have come or gone: without a track there is nothing to open. */
    async draw() {
      const now = shown();
      if (now.d.length) offered ??= await ask(now).then(() => true, () => false);
      button.hidden = !offered || !now.d.length;
    },
  };
}
