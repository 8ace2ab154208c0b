/** Where the server answers; relative, so that a stored view works wherever the server stands. */
export const SERVER = '/api/v1';

/** An answer that is an error: its message is a sentence for people. */
export class ApiError extends Error {
  /** @param {string} sentence @param {string} code @param {number} status */
  constructor(sentence, code, status) {
    super(sentence);
    this.code = code;
    this.status = status;
  }
}

/**
 * @param {string} path below SERVER
 * @param {{query?: Record<string, string | string[] | undefined>, body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<any>}
 */
async function call(path, { query = {}, body, signal } = {}) {
  const url = new URL(SERVER + path, window.location.origin);
  for (const [name, values] of Object.entries(query)) {
    for (const value of [values].flat()) if (value !== undefined) url.searchParams.append(name, value);
  }
  const request = body === undefined
    ? { signal }
    : { signal, method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(url, request);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError('The server cannot be reached. Check the connection and try again.', 'unreachable', 0);
  }
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  const sentence = answer?.error ?? `The server answered with an error (${response.status}).`;
  throw new ApiError(sentence, answer?.code ?? 'error', response.status);
}

/**
 * @typedef {{uuid: string, name: string, datatype: string, coordSystem: string, kind?: 'observed' | 'predicted',
 *   assay?: string | null, biosample?: string | null, target?: string | null, strand?: string | null,
 *   model?: string | null, track_index?: number | null, accession?: string | null,
 *   pair?: string | null, pair_reason?: string | null, pair_confidence?: 'chosen' | 'certain' | 'likely' | 'ambiguous' | null}} Tileset
 * @typedef {Record<string, string | string[]>} Wanted  which tilesets: words, a facet's values, assembly
 * @typedef {{count: number, facets: Record<string, {value: string, count: number}[]>,
 *   more: Record<string, number>}} Facets  more: how many values of a facet there are besides those listed
 * @typedef {{pearson: number | null, spearman: number | null, auprc: number | null, top: number | null, prevalence: number | null,
 *   n_bins: number, n_left_out: number, bin_width: number, interval: Record<string, [number, number]>, notes: string[]}} Figures
 * @typedef {{predicted: string, observed: string, figures: Figures | null,
 *   genome: {figures: Figures, folds: Record<string, Figures>} | null}} Agreement
 * @typedef {{ucsc: string | null, igv: string | null, jbrowse: string | null, washu: string | null, left_out: {uid: string, name: string, reason: string}[], note: string | null}} Elsewhere
 * @typedef {{id: string, title: string, assemblies: string[], window: number, bin_width: number, n_tracks: number,
 *   can_predict: boolean, summary: string}} Model
 * @typedef {{title: string, notice: string | null, assembly: string, models: string[], default_model: string | null,
 *   view: {locus: string, rows: string[][]} | null, examples: {text: string, label: string}[], show: string | null}} Site
 * @typedef {{text: string, chrom: string, position: number, ref: string, alt: string,
 *   nearest_gene?: {name: string, distance: number} | null}} Variant
 * @typedef {{index: number, name: string, assay?: string, biosample?: string, target?: string, strand?: string,
 *   ref: number, alt: number, delta: number, at: import('./genome.js').Locus, log2fc: number, sad: number,
 *   max_abs_delta: number, max_value: number, tilesets: {ref: string, alt: string, delta: string}}} EffectTrack
 * @typedef {{id: string, status: 'queued' | 'running' | 'done' | 'failed', position?: number, error?: string,
 *   question: {model: string, assembly: string, variants: string[], ensemble: string[], shifts: number[], squashed: boolean}, variants: Variant[],
 *   locus: import('./genome.js').Locus, bin_width: number, tracks: EffectTrack[],
 *   warnings: {code: string, severity: string, sentence: string, advice?: string}[],
 *   provenance: {model: string, licence?: string, weights_sha256?: string, assembly: string, version?: string, date?: string, seconds?: number}}} Effect
 * @typedef {{id: string, status: 'queued' | 'running' | 'done' | 'failed', position?: number, error?: string,
 *   locus: import('./genome.js').Locus, score: {name: string, words: string},
 *   tracks: {index: number, name: string, assay?: string, biosample?: string, target?: string, strand?: string,
 *     strongest: {variant: string, at: import('./genome.js').Locus, score: number}, importance: (number | null)[]}[]}} Mutagenesis
 * @typedef {{query: string, kind: 'gene' | 'locus' | 'variant', chrom: string, start: number, end: number, label: string,
 *   assembly: string, variants?: Variant[]}} Found
 */

export const api = {
  /** @returns {Promise<Site>} */
  site: () => call('/site/'),
  /** @returns {Promise<import('./genome.js').Assembly[]>} */
  assemblies: () => call('/assemblies/').then((answer) => answer.assemblies),
  /** A page of the catalogue. @param {Wanted} wanted @param {AbortSignal} signal @returns {Promise<{count: number, results: Tileset[]}>} */
  tilesets: (wanted, signal) => call('/tilesets/', { query: wanted, signal }),
  /** @param {string} uid @returns {Promise<Tileset>} */
  tileset: (uid) => call(`/tilesets/${encodeURIComponent(uid)}/`),
  /** @param {Wanted} wanted @param {AbortSignal} signal @returns {Promise<Facets>} */
  facets: (wanted, signal) => call('/facets/', { query: wanted, signal }),
  /** @param {string} predicted @param {string} observed @param {string[]} locus @param {AbortSignal} signal @returns {Promise<Agreement>} */
  agreement: (predicted, observed, locus, signal) => call('/agreement/', { query: { predicted, observed, locus }, signal }),
  /** The same tracks in other browsers. @param {{d: string[], locus: string, assembly: string}} shown @returns {Promise<Elsewhere>} */
  open: (shown) => call('/open/', { query: shown }),
  /** @returns {Promise<Model[]>} */
  models: () => call('/models/').then((answer) => answer.models),
  /** @param {string} q @param {string} assembly @param {AbortSignal} signal @returns {Promise<Found>} */
  search: (q, assembly, signal) => call('/search/', { query: { q, assembly }, signal }),
  /** @param {string} genes @param {string} text @param {AbortSignal} signal
   *  @returns {Promise<{chr: string, txStart: number, txEnd: number, geneName: string}[]>} */
  suggest: (genes, text, signal) => call('/suggest/', { query: { d: genes, ac: text }, signal }),
  /** @param {{model: string, assembly: string, variants: string[]}} question @param {AbortSignal} signal @returns {Promise<Effect>} */
  ask: (question, signal) => call('/effects/', { body: question, signal }),
  /** @param {string} id @returns {Promise<Effect>} */
  effect: (id) => call(`/effects/${encodeURIComponent(id)}/`),
  /** @param {object} question @param {AbortSignal} signal @returns {Promise<Mutagenesis>} */
  mutate: (question, signal) => call('/mutagenesis/', { body: question, signal }),
  /** @param {string} id @returns {Promise<Mutagenesis>} */
  mutagenesis: (id) => call(`/mutagenesis/${encodeURIComponent(id)}/`),
  /** @param {object} viewconf @param {string} title @returns {Promise<{id: string, url: string, embed: string}>} */
  storeView: (viewconf, title) => call('/views/', { body: { viewconf, title } }),
  /** @param {string} id @returns {Promise<object>} */
  viewconf: (id) => call('/viewconfs/', { query: { d: id } }),
  /** @param {string} id @returns {Promise<{id: string, title: string | null, created: string}>} */
  view: (id) => call(`/views/${encodeURIComponent(id)}/`),
};
