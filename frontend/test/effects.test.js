import assert from 'node:assert/strict';
import { test } from 'node:test';
import { progress, summary, untilDone } from '../src/effects.js';

const signal = new AbortController().signal;

test('an effect that is done is there at once', async () => {
  const effect = { status: 'done', id: 'a' };
  assert.equal(await untilDone(Promise.resolve(effect), assert.fail, signal), effect);
});

test('one that waits is asked for until it is done, and says how it stands', async (context) => {
  const answers = [{ status: 'running' }, { status: 'done', id: 'a' }];
  context.mock.method(globalThis, 'fetch', async (url) => {
    assert.match(String(url), /\/api\/v1\/effects\/a\/$/);
    return Response.json({ id: 'a', ...answers.shift() });
  });
  globalThis.window = { location: { origin: 'http://localhost' } };
  const heard = [];
  const effect = await untilDone(Promise.resolve({ id: 'a', status: 'queued', position: 2 }), (how) => heard.push(progress(how)), signal);
  assert.equal(effect.status, 'done');
  assert.deepEqual(heard, ['Queued, position 2', 'Computing …']);
});

test('a failure is told in its own words', async () => {
  await assert.rejects(untilDone(Promise.resolve({ id: 'a', status: 'failed', error: 'The window lies off the end.' }), () => {}, signal), /The window lies off the end/);
});

test('one that nobody waits for any more ends', async () => {
  const controller = new AbortController();
  controller.abort();
  await assert.rejects(untilDone(Promise.resolve({ id: 'a', status: 'done' }), () => {}, controller.signal), { name: 'AbortError' });
});

test('what matters first', () => {
  const tracks = [{ index: 0, log2fc: -0.05 }, { index: 1, log2fc: -2 }, { index: 2, log2fc: 0.3 }];
  assert.deepEqual(summary(tracks), { top: tracks[1], changed: 2, total: 3 });
  assert.deepEqual(summary([]), { top: null, changed: 0, total: 0 });
});
