import { assayName } from './rows.js';

/**
 * Choosing among tilesets: within a facet any chosen value will do, across facets all must hold. The server filters and
 * counts.
 *
 * @typedef {'kind' | 'assay' | 'biosample' | 'target' | 'model' | 'strand' | 'source' | 'assembly'} Key
 * @typedef {{key: Key, title: string, open?: boolean, label?: (value: string) => string}} Facet
 * @typedef {Map<string, Set<string>>} Choice
 */

const KINDS = { predicted: 'Predicted', observed: 'Measured', annotation: 'Annotation' };
const STRANDS = { '+': '+ strand', '-': '− strand', '.': 'both strands' };

/** In the order of the page; those that people choose by are open. @type {Facet[]} */
export const FACETS = [
  { key: 'kind', title: 'Tracks', open: true, label: (kind) => KINDS[kind] ?? kind },
  { key: 'assay', title: 'Assay', open: true, label: assayName },
  { key: 'biosample', title: 'Biosample', open: true },
  { key: 'target', title: 'Target' },
  { key: 'model', title: 'Model' },
  { key: 'strand', title: 'Strand', label: (strand) => STRANDS[strand] ?? strand },
  { key: 'source', title: 'Source' },
  { key: 'assembly', title: 'Assembly' },
];

/**
 * What the server is asked for.
 *
 * @param {string} words @param {Choice} choice @param {string} assembly
 * @returns {import('./api.js').Wanted}
 */
export function wanted(words, choice, assembly) {
  const chosen = Object.fromEntries([...choice].filter(([, values]) => values.size).map(([key, values]) => [key, [...values]]));
  return { ...(words.trim() && { ac: words.trim() }), ...chosen, assembly, dt: 'vector' };
}

/**
 * The values of a facet with how many tilesets each would leave, as the server orders them; chosen ones stay, even at none.
 *
 * @param {import('./api.js').Facets} found @param {Choice} choice @param {Key} key
 * @returns {[string, number][]}
 */
export function valuesOf(found, choice, key) {
  const values = (found.facets[key] ?? []).filter(({ value }) => value).map(({ value, count }) => /** @type {[string, number]} */ ([value, count]));
  const gone = [...choice.get(key) ?? []].filter((value) => !values.some(([other]) => other === value));
  return [...values, ...gone.map((value) => /** @type {[string, number]} */ ([value, 0]))];
}
