import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defined, genomeWide, sentences, setUpAgreement } from '../src/agreement.js';

const figures = (more = {}) => ({
  pearson: 0.7149, spearman: -0.6551, auprc: 0.58, top: 0.05, prevalence: 0.0506, n_bins: 1512, n_left_out: 0, bin_width: 128,
  interval: { pearson: [0.6, 0.8] }, notes: [], ...more,
});
const answer = (more = {}) => ({ predicted: 'p', observed: 'o', figures: figures(), genome: null, ...more });

test('figures are to hundredths, and only those that are defined', () => {
  assert.deepEqual(defined(figures()), ['r=0.71', 'ρ=−0.66', 'AUPRC=0.58']);
  assert.deepEqual(defined(figures({ pearson: null, spearman: -0.001 })), ['ρ=0.00', 'AUPRC=0.58']);
});

test('genome-wide is the test fold where it is known, by ranks where r is not defined', () => {
  assert.deepEqual(genomeWide({ figures: figures(), folds: { test: figures({ pearson: 0.69 }) } }), ['r=0.69', '(test fold)']);
  assert.deepEqual(genomeWide({ figures: figures({ pearson: null, spearman: 0.5 }), folds: {} }), ['ρ=0.50', '']);
  assert.equal(genomeWide({ figures: figures({ pearson: null, spearman: null, auprc: null }), folds: {} }), null);
  assert.equal(genomeWide(null), null);
});

test('what is not in the margin is in the sentences', () => {
  const said = sentences(answer({ figures: figures({ n_left_out: 3, notes: ['Only order and peaks are compared.'] }) })).join(' ');
  for (const part of ['1,512 bins of 128 bp', '3 left out', 'r 0.60 to 0.80', 'top 5 %', 'AUPRC is 0.05 by chance', 'Only order and peaks', 'trackserver agree p o']) {
    assert.ok(said.includes(part), `${part} in ${said}`);
  }
  const whole = sentences(answer({ genome: { figures: figures(), folds: {} } })).at(-1);
  assert.ok(whole.includes('trained on included'), whole);
  assert.equal(sentences(answer({ figures: null })).length, 1);
});

const pair = { kind: 'pair', id: 'pair-p', predicted: 'p', observed: 'o', title: 'DNase' };
const locus = { chrom: 'chr1', start: 1000, end: 2000 };

/** A server that answers when it is told to. @param {import('node:test').TestContext} context */
function server(context) {
  const asked = [];
  globalThis.window = /** @type {any} */ ({ location: { origin: 'http://here' } });
  context.mock.method(globalThis, 'fetch', (url, { signal }) => new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
    asked.push({ url: new URL(url), say: (body, ok = true) => resolve({ ok, status: ok ? 200 : 400, json: async () => body }) });
  }));
  return asked;
}

const turn = () => new Promise((resolve) => { setTimeout(resolve, 0); });

test('an answer to an older view is dropped', async (context) => {
  const asked = server(context);
  const places = [locus];
  const agreement = setUpAgreement({ pairs: () => [pair], loci: () => places, changed: () => {} });
  agreement.refresh();
  await turn();
  places[0] = { ...locus, end: 3000 };
  agreement.refresh();
  await turn();
  asked[0].say(answer({ figures: figures({ n_bins: 1 }) }));
  asked[1].say(answer({ figures: figures({ n_bins: 2 }) }));
  await turn();
  assert.deepEqual(asked.map(({ url }) => url.searchParams.getAll('locus')), [['chr1:1001-2000'], ['chr1:1001-3000']]);
  assert.equal(agreement.of('pair-p').answer.figures.n_bins, 2);
  agreement.moved();
  assert.equal(agreement.of('pair-p').stale, true);
});

test('where a view cannot be compared, what is known of the genome stays', async (context) => {
  const asked = server(context);
  const agreement = setUpAgreement({ pairs: () => [pair], loci: () => [locus], changed: () => {} });
  agreement.refresh();
  await turn();
  asked[0].say({ error: 'Come closer.' }, false);
  await turn();
  assert.deepEqual(asked[1].url.searchParams.getAll('locus'), []);
  asked[1].say(answer({ figures: null, genome: { figures: figures(), folds: {} } }));
  await turn();
  const { answer: found, problem } = agreement.of('pair-p');
  assert.equal(problem, 'Come closer.');
  assert.equal(found.genome.figures.n_bins, 1512);
});
