import assert from 'node:assert/strict';
import { test } from 'node:test';
import { topOf } from '../src/shapes.js';

test('the end of a scale is the 99th percentile, between two values as numpy has it', () => {
  assert.equal(topOf([3]), 3);
  assert.ok(Math.abs(topOf([4, 1, 3, 2]) - 3.97) < 1e-12);
  assert.equal(topOf(Array.from({ length: 101 }, (_, index) => 100 - index)), 99);
});

test('where nearly all is 0 it is the largest value, and something to draw on where all is', () => {
  const values = new Array(1000).fill(0);
  assert.equal(topOf(values), 1);
  values[500] = 7;
  assert.equal(topOf(values), 7);
});
