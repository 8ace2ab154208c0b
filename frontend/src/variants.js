import { api } from './api.js';
import { changeScale, summary, untilDone } from './effects.js';
import { toDomain, variantText } from './genome.js';
import { say } from './notice.js';
import { basesRows, effectRows, withBases, withEffect, withEffectTrack } from './rows.js';

const SHOWN_AT_FIRST = 2; // tracks of an effect
const AROUND = 2000; // bp beside a variant
const NEARBY = 30; // bp beside a variant that are all changed
const PATIENCE = 250; // ms before the page says that it waits

/** @param {import('./api.js').Effect} effect @param {import('./api.js').EffectTrack} track */
const rowsOf = (effect, track) => effectRows(effect.id, track, changeScale(track));

/**
 * What people ask of a variant: its effect, more tracks of it, what each base near it does. A question puts an end to the one before.
 *
 * @param {{
 *   state: any, page: any, isNarrow: () => boolean, titled: () => void, again: () => Promise<void>,
 *   setRows: (rows: import('./rows.js').Row[], domain?: [number, number]) => Promise<void>,
 * }} parts the page's state and its parts; `titled` writes its title anew, `again` offers to compute an effect that is gone
 */
export function setUpVariants({ state, page, isNarrow, titled, setRows, again }) {
  /** What is being looked for or computed; the next question puts an end to it. */
  let asking = new AbortController();

  function begin() {
    asking.abort();
    asking = new AbortController();
    return asking.signal;
  }

  /** @param {import('./api.js').Variant[]} variants @param {[number, number]} domain what to show */
  async function compute(variants, domain) {
    if (!state.model) return say('No model on this site can compute the effect of a variant.');
    const signal = begin();
    const headline = variants.map(variantText).join(' + ');
    page.browser.zoomTo(domain);
    const patience = setTimeout(() => {
      page.effect.wait(headline, { status: 'queued' });
      setRows(withEffect(state.rows, [{ kind: 'pending', id: 'pending' }]));
    }, PATIENCE);
    signal.addEventListener('abort', () => clearTimeout(patience));
    const question = { model: state.model, assembly: state.assembly.name, variants: variants.map(({ text }) => text) };
    try {
      const effect = await untilDone(api.ask(question, signal), (how) => page.effect.wait(headline, how), signal);
      state.effect = effect;
      const first = effect.tracks.slice(0, SHOWN_AT_FIRST);
      setRows(withEffect(state.rows, first.flatMap((track) => rowsOf(effect, track))), domain);
      page.effect.show(effect);
    } catch (error) {
      if (signal.aborted) return;
      say(error.message);
      state.effect = null;
      setRows(withEffect(state.rows, []));
      page.effect.invite(state.site.examples, true);
    } finally {
      clearTimeout(patience);
    }
  }

  /** Shows one track of the effect at the variant. @param {import('./api.js').EffectTrack} track */
  async function pick(track) {
    const { effect } = state;
    const around = { chrom: effect.locus.chrom, start: Infinity, end: -Infinity };
    for (const variant of effect.variants) {
      around.start = Math.min(around.start, variant.position - 1 - AROUND);
      around.end = Math.max(around.end, variant.position - 1 + variant.ref.length + AROUND);
    }
    const domain = toDomain(state.assembly, { ...around, start: Math.max(0, around.start) });
    const rows = rowsOf(effect, track);
    await setRows(withEffectTrack(state.rows, rows), domain ?? undefined);
    document.querySelector(`[data-row="${rows[0].id}"]`)?.scrollIntoView({ block: 'nearest' });
  }

  /** What every base near the variant does to the track that changes most. @param {import('./api.js').Effect} effect */
  async function mutate(effect) {
    const signal = begin();
    const { model, assembly, ensemble, shifts, squashed } = effect.question;
    const [{ chrom, position, ref }] = effect.variants;
    const [, size] = state.assembly.chromsizes.find(([name]) => name === chrom) ?? [];
    const [first, last] = [Math.max(1, position - NEARBY), Math.min(size ?? Infinity, position + ref.length - 1 + NEARBY)];
    const question = { model, assembly, ensemble, shifts, squashed, locus: `${chrom}:${first}-${last}`, tracks: [summary(effect.tracks).top.index] };
    page.effect.mutating({ status: 'queued' });
    try {
      const found = await untilDone(api.mutate(question, signal), page.effect.mutating, signal, api.mutagenesis);
      const rows = basesRows(found);
      await setRows(withBases(state.rows, rows), toDomain(state.assembly, found.locus) ?? undefined);
      page.effect.mutated(found);
      // On a phone the button lies below the tracks.
      document.querySelector(`[data-row="${rows[0].id}"]`)?.scrollIntoView({ block: isNarrow() ? 'center' : 'nearest' });
    } catch (error) {
      page.effect.mutating(null);
      if (!signal.aborted) say(error.message);
    }
  }

  /** The effect that a stored view shows. @param {string} id */
  async function open(id) {
    try {
      state.effect = await untilDone(api.effect(id), (how) => page.effect?.wait('Effect', how), begin());
      page.effect?.show(state.effect);
      page.search?.write(state.effect.question.variants.join(' + '));
      page.gutter.drawMove();
      titled();
    } catch (error) {
      if (error.code === 'unknown_effect') await again();
      else say(error.message);
    }
  }

  return { begin, compute, pick, mutate, open };
}
