import { assayName } from './rows.js';

/**
 * Choosing among tilesets: within a facet any chosen value will do, across facets all must hold.
 *
 * @typedef {import('./api.js').Tileset} Tileset
 * @typedef {{key: 'kind' | 'assay' | 'biosample' | 'model', title: string, label?: (value: string) => string}} Facet
 * @typedef {Map<string, Set<string>>} Choice
 */

/** @type {Facet[]} */
export const FACETS = [
  { key: 'kind', title: 'Tracks', label: (kind) => (kind === 'predicted' ? 'Predicted' : 'Measured') },
  { key: 'assay', title: 'Assay', label: assayName },
  { key: 'biosample', title: 'Biosample' },
  { key: 'model', title: 'Model' },
];

/** What the page lists: signal along the genome, not genes or chromosome sizes. @param {Tileset} tileset */
export const isSignal = (tileset) => tileset.datatype === 'vector' && (tileset.kind === 'predicted' || tileset.kind === 'observed');

/** @param {Tileset} tileset @param {string} words */
function matchesText(tileset, words) {
  const text = [tileset.name, tileset.target, tileset.assay, tileset.biosample, tileset.accession, tileset.model].join(' ').toLowerCase();
  return words.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** @param {Tileset} tileset @param {Choice} choice @param {string} [except] a facet that is not asked */
const matchesChoice = (tileset, choice, except) => [...choice].every(([key, values]) => key === except || !values.size || values.has(tileset[key] ?? ''));

/** @param {Tileset[]} tilesets @param {string} words @param {Choice} choice */
export const filter = (tilesets, words, choice) => tilesets.filter((tileset) => matchesChoice(tileset, choice) && matchesText(tileset, words));

/**
 * The values of a facet with how many tilesets each would leave. The order is that of the whole catalogue, most first,
 * so that nothing changes places while one chooses; values that would leave none go, unless they are chosen.
 *
 * @param {Tileset[]} tilesets @param {string} words @param {Choice} choice @param {Facet['key']} key
 * @returns {[string, number][]}
 */
export function counts(tilesets, words, choice, key) {
  const all = count(tilesets, key);
  const left = count(tilesets.filter((tileset) => matchesText(tileset, words) && matchesChoice(tileset, choice, key)), key);
  return [...all].sort((a, b) => b[1] - a[1] || b[0].localeCompare(a[0]) * (key === 'kind' ? 1 : -1))
    .map(([value]) => /** @type {[string, number]} */ ([value, left.get(value) ?? 0]))
    .filter(([value, number]) => number > 0 || choice.get(key)?.has(value));
}

/** @param {Tileset[]} tilesets @param {Facet['key']} key */
function count(tilesets, key) {
  /** @type {Map<string, number>} */
  const found = new Map();
  for (const { [key]: value } of tilesets) if (value) found.set(value, (found.get(value) ?? 0) + 1);
  return found;
}
