import { api } from './api.js';
import { ceilNice } from './format.js';

/** Waits between looks, in milliseconds: quick at first, as most effects take a fraction of a second. */
const FIRST = 150;
const LONGEST = 1000;

/**
 * Sees an effect, or what else is computed, through until it is done.
 *
 * @template {{id: string, status: string, error?: string}} T
 * @param {Promise<T>} first the answer to the question, or to a look at a known effect
 * @param {(effect: T) => void} waiting told each time it is not done yet
 * @param {AbortSignal} signal
 * @param {(id: string) => Promise<T>} [look] at how far it is
 * @returns {Promise<T>}
 */
export async function untilDone(first, waiting, signal, look = /** @type {any} */ (api.effect)) {
  let effect = await first;
  for (let wait = FIRST; effect.status !== 'done'; wait = Math.min(wait * 1.5, LONGEST)) {
    signal.throwIfAborted();
    if (effect.status === 'failed') throw new Error(effect.error ?? 'The effect could not be computed.');
    waiting(effect);
    await new Promise((resolve) => setTimeout(resolve, wait));
    signal.throwIfAborted();
    effect = await look(effect.id);
  }
  signal.throwIfAborted();
  return effect;
}

/** How far it is, in words. @param {{status: string, position?: number}} effect */
export function progress({ status, position }) {
  if (status === 'running') return 'Computing …';
  return position ? `Queued, position ${position}` : 'Queued';
}

/** From here on a track counts as changed: about 7 % up or down. */
export const CHANGED = 0.1;

/**
 * What a person wants to know first.
 *
 * @param {import('./api.js').EffectTrack[]} tracks
 * @returns {{top: import('./api.js').EffectTrack | null, changed: number, total: number}}
 */
export function summary(tracks) {
  const size = (/** @type {import('./api.js').EffectTrack} */ track) => Math.abs(track.log2fc ?? 0);
  const top = tracks.reduce((best, track) => (best === null || size(track) > size(best) ? track : best), /** @type {any} */ (null));
  return { top, changed: tracks.filter((track) => size(track) >= CHANGED).length, total: tracks.length };
}

/** A change is drawn against at least this share of the signal: the noise of no effect should look like none. */
const LEAST = 0.02;

/** The end of a scale on which a track's change is drawn. @param {import('./api.js').EffectTrack} track */
export const changeScale = (track) => ceilNice(Math.max(track.max_abs_delta, LEAST * track.max_value));
