import { defined, genomeWide, sentences } from './agreement.js';
import { h } from './dom.js';
import { whole } from './format.js';
import { offered } from './rows.js';

/**
 * What stands in the margin of a row besides its scale: of a pair how well it agrees, of a tileset alone its counterpart.
 *
 * @param {import('./rows.js').Row} row
 * @param {{
 *   rows: import('./rows.js').Row[], catalogue: import('./rows.js').Catalogue, agreement: import('./agreement.js').Found | undefined,
 *   tell: (sentences: string) => void, replace: (id: string, instead: import('./rows.js').Row) => void,
 * }} parts
 * @returns {Node[]}
 */
export function marginOf(row, { rows, catalogue, agreement, tell, replace }) {
  if (row.kind === 'pair') return agreement ? [badge(agreement, tell)] : [];
  const both = offered(row, rows, catalogue);
  if (row.kind !== 'signal' || !both) return [];
  const other = row.role === 'predicted' ? 'measured' : 'predicted';
  const reason = catalogue.get(row.uid)?.pair_reason;
  return [h('button', {
    type: 'button', class: 'offer', 'data-testid': 'offer', text: `show ${other}`,
    title: `Show what was ${other} in this row${reason ? ` (${reason})` : ''}`, onclick: () => replace(row.id, both),
  })];
}

/** The figures of agreement; all there is to say of them is told when they are pressed. @param {import('./agreement.js').Found} found @param {(sentence: string) => void} tell @returns {Node} */
function badge({ answer, problem, stale }, tell) {
  const all = [problem, ...(answer ? sentences(answer) : [])].filter(Boolean).join(' ');
  const figures = answer?.figures ?? null;
  const here = figures ? defined(figures) : [];
  const genome = genomeWide(answer?.genome ?? null);
  const window = here.length
    ? [...here.map((text) => h('span', { text })), h('span', {}, `(n=${whole(figures.n_bins)}`, h('i', { class: 'bins', text: ' bins, this window' }), ')')]
    : [h('span', { text: figures ? `not defined (n=${whole(figures.n_bins)})` : 'not compared here' })];
  return h('button', { type: 'button', class: stale ? 'agreement stale' : 'agreement', 'data-testid': 'agreement', title: all, onclick: () => tell(all) },
    h('span', { class: 'window' }, ...window),
    genome ? h('span', { class: 'genome' }, h('span', {}, 'genome', h('i', { text: '-wide' }), ` ${genome[0]}`), genome[1] ? h('span', { text: genome[1] }) : null) : null);
}
