import { byId, h } from './dom.js';
import { CHANGED, changeScale, progress, summary } from './effects.js';
import { bases, foldChange, number, signed } from './format.js';
import { variantText } from './genome.js';
import { nameOf, titleOf } from './rows.js';

const FIRST = 10; // rows of the table before "all"

/**
 * The column beside the tracks: what a variant changes.
 *
 * @param {{try_: (text: string) => void, pick: (track: import('./api.js').EffectTrack) => void, mutate: (effect: import('./api.js').Effect) => void, modelTitle: (id: string) => string}} parts
 */
export function setUpEffectPanel({ try_, pick, mutate, modelTitle }) {
  const panel = byId('effect');

  return {
    /** @param {{text: string, label: string}[]} examples @param {boolean} canPredict */
    invite(examples, canPredict) {
      delete panel.dataset.waiting;
      panel.replaceChildren(
        h('h1', { text: canPredict ? 'What does a variant change?' : 'Predicted beside measured' }),
        h('p', { class: 'dim', text: canPredict
          ? 'Type one above, as chromosome:position REF>ALT, and see REF, ALT and their difference on every track of the model.'
          : 'The tracks here were predicted before. No model on this site can compute the effect of a variant on this assembly.' }),
        ...(canPredict && examples.length ? [h('h2', { text: 'For example' }), h('ul', { class: 'examples' },
          ...examples.map(({ text, label }) => h('li', {}, h('button', { type: 'button', 'data-example': text, onclick: () => try_(text) },
            h('b', { text }), h('span', { text: label })))))] : []));
    },

    /** @param {string} headline @param {{status: string, position?: number}} how */
    wait(headline, how) {
      const says = progress(how);
      const line = panel.querySelector('.progress');
      if (line && panel.dataset.waiting === headline) {
        if (line.textContent !== says) line.textContent = says;
        return;
      }
      panel.dataset.waiting = headline;
      panel.replaceChildren(h('h1', { text: headline }), h('p', { class: 'dim progress', 'data-testid': 'progress', text: says }),
        ...[68, 132].map((height) => {
          const block = h('div', { class: 'skeleton', 'aria-hidden': 'true' });
          block.style.height = `${height}px`;
          return block;
        }));
    },

    /** How far the mutagenesis near the variant is; nothing once it failed. @param {{status: string, position?: number} | null} how */
    mutating(how) {
      const button = panel.querySelector('.mutagenesis button');
      if (!button) return;
      button.disabled = how !== null;
      button.textContent = how ? progress(how) : 'Show what each base does';
    },

    /** @param {import('./api.js').Mutagenesis} mutagenesis */
    mutated({ locus, tracks: [track] }) {
      const { variant, score } = track.strongest;
      const [, position, ref, alt] = variant.split(':');
      panel.querySelector('.mutagenesis')?.replaceChildren(h('p', {}, h('b', { text: `What each base does to ${titleOf(track)}: ` }),
        `of all changes in ${locus.end - locus.start} bp, ${ref}>${alt} at ${Number(position).toLocaleString('en')} does most (${foldChange(score)}). `
        + 'A tall letter is a base the signal rests on; blue raises it, orange lowers it.'));
    },

    /** @param {import('./api.js').Effect} effect */
    show(effect) {
      delete panel.dataset.waiting;
      panel.replaceChildren(
        h('h1', { 'data-testid': 'headline', text: effect.variants.map(variantText).join(' + ') }),
        h('p', { class: 'dim', text: [...effect.variants.slice(0, 1).map(nearest), modelTitle(effect.question.model)].filter(Boolean).join(' · ') }),
        ...findings(effect),
        effect.tracks.length ? h('div', { class: 'mutagenesis', 'data-testid': 'mutagenesis' }, h('button', {
          type: 'button', class: 'button', text: 'Show what each base does', title: 'Change every base near the variant to each of the three others', onclick: () => mutate(effect),
        })) : '',
        ...table(effect, pick),
        ...warnings(effect.warnings),
        provenance(effect),
      );
    },
  };
}

/** @param {import('./api.js').Variant} variant */
function nearest({ nearest_gene: gene }) {
  if (!gene) return null;
  return gene.distance === 0 ? `at the TSS of ${gene.name}` : `${bases(gene.distance)} from the TSS of ${gene.name}`;
}

/** @param {import('./api.js').Effect} effect */
function findings({ tracks }) {
  const { top, changed, total } = summary(tracks);
  if (!top) return [];
  const sentence = changed
    ? `${titleOf(top)} changes most: ${top.delta < 0 ? 'down' : 'up'} from ${number(top.ref)} to ${number(top.alt)}.`
    : `No track changes by ${CHANGED} log2 or more: this model sees no effect here.`;
  return [
    h('p', { class: 'verdict', 'data-testid': 'verdict', text: sentence }),
    h('div', { class: 'tiles' },
      h('div', {}, h('b', { text: foldChange(top.log2fc) }), h('span', { text: `largest log2 fold change, ${nameOf(top).what}` })),
      h('div', {}, h('b', { text: `${changed} of ${total}` }), h('span', { text: `tracks change by ${CHANGED} log2 or more` }))),
  ];
}

/** @param {import('./api.js').Effect} effect @param {(track: import('./api.js').EffectTrack) => void} pick */
function table({ tracks }, pick) {
  if (!tracks.length) return [];
  const largest = Math.max(...tracks.map(changeScale));
  const body = h('tbody');
  const fill = (/** @type {number} */ count) => body.replaceChildren(...tracks.slice(0, count).map((track) => tableRow(track, largest, pick)));
  fill(FIRST);
  const all = h('button', { type: 'button', class: 'link', text: `All ${tracks.length} tracks`, onclick: () => { fill(tracks.length); all.remove(); } });
  const head = [['track', 'Track'], ['REF', 'REF at the bin that changes most'], ['ALT', 'ALT at the bin that changes most'], ['Δ', 'ALT − REF at the bin that changes most'], ['log2FC', 'log2 fold change, ALT over REF, around the variant']];
  return [
    h('h2', { id: 'changed', text: 'Most changed' }),
    h('table', { 'aria-labelledby': 'changed', 'data-testid': 'changed' },
      h('thead', {}, h('tr', {}, ...head.map(([text, title]) => h('th', { scope: 'col', text, title })))), body),
    tracks.length > FIRST ? all : null,
  ].filter((part) => part !== null);
}

/** @param {import('./api.js').EffectTrack} track @param {number} largest @param {(track: import('./api.js').EffectTrack) => void} pick */
function tableRow(track, largest, pick) {
  const bar = h('i', { class: track.delta < 0 ? 'down' : 'up', 'aria-hidden': 'true' });
  bar.style.width = `${(Math.abs(track.delta) / largest) * 100}%`;
  const { what, where } = nameOf(track);
  return h('tr', { 'data-track': track.index },
    h('th', { scope: 'row' }, h('button', { type: 'button', title: `Show ${track.name} at the variant`, onclick: () => pick(track) },
      h('b', { text: what }), ' ', where ? h('span', { text: where }) : null)),
    h('td', { text: number(track.ref) }), h('td', { text: number(track.alt) }),
    h('td', { class: 'delta' }, h('div', {}, h('span', { class: 'track' }, bar), h('span', { text: signed(track.delta) }))),
    h('td', { text: foldChange(track.log2fc) }));
}

/** @param {import('./api.js').Effect['warnings']} all */
function warnings(all) {
  if (!all?.length) return [];
  return [h('section', { class: 'trust', 'aria-labelledby': 'trust', 'data-testid': 'warnings' }, h('h2', { id: 'trust', text: 'Before you believe it' }),
    h('ul', {}, ...all.map(({ code, severity, sentence, advice }) => h('li', { 'data-code': code, class: severity },
      sentence, advice ? h('span', { class: 'dim', text: ` ${advice}` }) : null))))];
}

/** @param {import('./api.js').Effect} effect */
function provenance({ provenance: from, bin_width: bin }) {
  if (!from) return null;
  const parts = [
    from.model, from.weights_sha256 ? `weights ${from.weights_sha256.slice(0, 8)}` : null, from.assembly, from.licence || null, bin ? `${bin} bp bins` : null,
    from.date?.slice(0, 10), Number.isFinite(from.seconds) ? `${number(from.seconds)} s` : null, from.version ? `trackserver ${from.version}` : null,
  ];
  return h('footer', { class: 'provenance', title: from.weights_sha256 ? `weights sha256 ${from.weights_sha256}` : null, text: parts.filter(Boolean).join(' · ') });
}
