import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bases, ceilNice, foldChange, number, signed } from '../src/format.js';

test('numbers keep about three digits and a true minus sign', () => {
  const cases = [[0, '0'], [5.364, '5.36'], [-0.707, '−0.71'], [12.34, '12.3'], [123.4, '123'], [1234.5, '1,235'], [0.0042, '0.004'], [1e-7, '1e−7'], [-1e-7, '−1e−7']];
  for (const [value, text] of cases) assert.equal(number(value), text);
});

test('what is no number is a dash', () => {
  for (const value of [null, undefined, NaN, Infinity]) assert.equal(number(value), '–');
});

test('signs', () => {
  assert.equal(signed(0.5), '+0.50');
  assert.equal(signed(-0.5), '−0.50');
  assert.equal(signed(0), '0');
});

test('a fold change below a hundredth is none', () => {
  assert.deepEqual([0.5, -2.013, 0.004, 0, null, NaN].map(foldChange), ['+0.50', '−2.01', '0', '0', '–', '–']);
});

test('lengths', () => {
  assert.deepEqual([40, 4000, 39_001, 3_600_000].map(bases), ['40 bp', '4 kb', '39 kb', '3.6 Mb']);
});

test('the end of a scale is round and never below the value', () => {
  for (const value of [0.3, 4.0999, 1.1, 99.9, 1e-5]) {
    assert.ok(ceilNice(value) >= value);
    assert.ok(ceilNice(value) <= value * 1.1);
  }
  assert.equal(ceilNice(4.0999), 4.1);
  assert.equal(ceilNice(0), 1);
});
