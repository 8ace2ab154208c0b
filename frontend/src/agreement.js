import { api } from './api.js';
import { fixed, whole } from './format.js';
import { plainLocus } from './genome.js';

/**
 * How well a row's predicted track agrees with the measured one, as the server has worked it out for what is in view.
 *
 * @typedef {import('./api.js').Figures} Figures
 * @typedef {import('./api.js').Agreement} Agreement
 * @typedef {{answer: Agreement | null, problem: string | null, stale: boolean}} Found
 */

/** The figures in the margin, and the letters they are known by. @type {[('pearson' | 'spearman' | 'auprc'), string][]} */
const FIGURES = [['pearson', 'r'], ['spearman', 'ρ'], ['auprc', 'AUPRC']];
const MOST_LOCI = 40; // chromosomes in one question: an address has its limits, and so wide a view is not compared

/** Those figures that are defined, such as "r=0.71". @param {Figures} figures @returns {string[]} */
export const defined = (figures) => FIGURES.filter(([key]) => figures[key] !== null).map(([key, letter]) => `${letter}=${fixed(figures[key])}`);

/** The genome-wide figure: of the test fold where it is known, by ranks where r is not defined. @param {Agreement['genome']} genome @returns {[string, string] | null} the figure, and of what */
export function genomeWide(genome) {
  const { test } = genome?.folds ?? {};
  const [first] = genome ? defined(test ?? genome.figures) : [];
  return first ? [first, test ? '(test fold)' : ''] : null;
}

/** All there is to say about the figures, in sentences. @param {Agreement} answer */
export function sentences({ figures, genome, predicted, observed }) {
  const between = figures && FIGURES.filter(([key]) => figures.interval[key]).map(([key, letter]) => `${letter} ${figures.interval[key].map(fixed).join(' to ')}`);
  const test = genome?.folds.test;
  return [
    ...(figures ? [
      `${whole(figures.n_bins)} bins of ${whole(figures.bin_width)} bp in this window${figures.n_left_out ? `, ${whole(figures.n_left_out)} left out where a track has no value` : ''}.`,
      between?.length ? `95 % intervals: ${between.join(', ')}.` : '',
      figures.auprc !== null && figures.top !== null ? `Peaks are the top ${whole(figures.top * 100)} % of the measured bins; AUPRC is ${fixed(figures.prevalence)} by chance.` : '',
      ...figures.notes,
    ] : []),
    genome
      ? `Genome-wide${test ? ', test fold' : ', what the model was trained on included'}: ${defined(test ?? genome.figures).join(', ')}.`
      : `Genome-wide figures have not been computed: trackserver agree ${predicted} ${observed}`,
  ].filter(Boolean);
}

/** @param {import('./rows.js').PairRow} row @param {string[]} places @param {AbortSignal} signal @returns {Promise<Found>} */
async function compare({ predicted, observed }, places, signal) {
  try {
    if (places.length > MOST_LOCI) throw new Error('The view is too wide to be compared; come closer.');
    return { answer: await api.agreement(predicted, observed, places, signal), problem: null, stale: false };
  } catch (error) {
    // What is known of the genome holds everywhere.
    const answer = signal.aborted ? null : await api.agreement(predicted, observed, [], signal).catch(() => null);
    return { answer, problem: error.message, stale: false };
  }
}

/**
 * Keeps the figures of all pairs up with what is in view. One question after the other: a pan of a page with many pairs
 * does not take the server from everybody else.
 *
 * @param {{pairs: () => import('./rows.js').PairRow[], loci: () => import('./genome.js').Locus[], changed: () => void}} parts
 */
export function setUpAgreement({ pairs, loci, changed }) {
  /** @type {Map<string, Found>} by row id */
  const known = new Map();
  let asking = new AbortController();


  return {
    /** @param {string} id of a row @returns {Found | undefined} */
    of: (id) => known.get(id),
    /** What is shown holds no longer; the view still moves. */
    moved() {
      asking.abort();
      if ([...known.values()].every(({ stale }) => stale)) return;
      for (const found of known.values()) found.stale = true;
      changed();
    },
    async refresh() {
      asking.abort();
      asking = new AbortController();
      const { signal } = asking;
      const places = loci().map(plainLocus);
      for (const row of pairs()) {
        const found = await compare(row, places, signal);
        if (signal.aborted) return;
        known.set(row.id, found);
        changed();
      }
    },
  };
}
