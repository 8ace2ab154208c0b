import assert from 'node:assert/strict';
import { test } from 'node:test';
import { axisOf, ticks } from '../src/axis.js';
import { plainLocus, lociIn, locusText, parseLocus, toDomain, variantText } from '../src/genome.js';
import { moved } from '../src/toolbar.js';

const assembly = { name: 'demo', length: 3600, chromsizes: [['a', 1600], ['b', 1200], ['c', 800]], chromsizes_uid: 'cs', genes_uid: null };

test('a place reads as people count, and back', () => {
  assert.equal(locusText(assembly, [0, 100]), 'a:1-100');
  assert.equal(locusText(assembly, [1600, 2800]), 'b:1-1,200');
  for (const domain of [[0, 100], [1599, 1601], [1600, 2800], [10, 3600], [3599, 3600]]) {
    assert.deepEqual(parseLocus(assembly, locusText(assembly, domain)), domain);
  }
});

test('what is in view is a locus of each chromosome, within its ends', () => {
  assert.deepEqual(lociIn(assembly, [-20, 100.4]).map(plainLocus), ['a:1-100']);
  assert.deepEqual(lociIn(assembly, [1500, 2900]).map(plainLocus), ['a:1501-1600', 'b:1-1200', 'c:1-100']);
  assert.deepEqual(lociIn(assembly, [1600, 2800]).map(plainLocus), ['b:1-1200']);
});

test('beyond the ends the nearest base is named', () => {
  assert.equal(locusText(assembly, [-50, 4000]), 'a:1-c:800');
});

test('what is no locus of the assembly is none', () => {
  for (const text of ['', 'd:1-100', 'a:100', 'a:200-100', 'nonsense']) assert.equal(parseLocus(assembly, text), null);
});

test('0-based half-open to the axis', () => {
  assert.deepEqual(toDomain(assembly, { chrom: 'b', start: 0, end: 10 }), [1600, 1610]);
  assert.equal(toDomain(assembly, { chrom: 'x', start: 0, end: 10 }), null);
});

test('long alleles are told by their length', () => {
  assert.equal(variantText({ chrom: 'a', position: 1234, ref: 'C', alt: 'T' }), 'a:1,234 C>T');
  assert.equal(variantText({ chrom: 'a', position: 5, ref: 'ACGTACGTAC', alt: 'A' }), 'a:5 ACGTA…(10)>A');
});

test('ticks are round and within', () => {
  assert.deepEqual(ticks(3124, 7123, 4), [4000, 5000, 6000, 7000]);
  assert.deepEqual(ticks(10, 12, 9), [10, 11, 12]);
});

test('a label stands over the middle of its base', () => {
  const { labels } = axisOf(assembly, [0, 10], 500, false);
  assert.ok(labels.length > 1);
  for (const { x, text } of labels) assert.equal(x, (Number(text) - 0.5) * 50);
});

test('several chromosomes: names, and lines where they meet', () => {
  const { labels, ends } = axisOf(assembly, [0, 3600], 360, false);
  assert.deepEqual(labels.map(({ text }) => text), ['a', 'b', 'c']);
  assert.deepEqual(ends, [160, 280]);
});

test('moving stays near the genome and zooming out ends with it', () => {
  assert.deepEqual(moved([100, 200], { shift: 0, zoom: 0.5 }, 3600), [125, 175]);
  assert.deepEqual(moved([0, 3000], { shift: 0, zoom: 2 }, 3600), [0, 3600]);
  assert.ok(moved([3550, 3600], { shift: 10, zoom: 1 }, 3600)[0] < 3600);
  const [from, to] = moved([100, 108], { shift: 0, zoom: 0.5 }, 3600);
  assert.equal(to - from, 10);
});
