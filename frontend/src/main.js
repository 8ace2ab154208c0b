import './style.css';
import { api } from './api.js';
import { mount } from './browser.js';
import { setUpCatalogue } from './catalogue.js';
import { byId, h } from './dom.js';
import { changeScale, summary, untilDone } from './effects.js';
import { setUpEffectPanel } from './effectpanel.js';
import { locusText, offsetOf, parseLocus, toDomain, variantText } from './genome.js';
import { setUpGutter } from './gutter.js';
import { hush, say } from './notice.js';
import {
  basesRows, describe, effectRows, genesRow, pairRow, sequenceRow, shownIn, signalRow, withBases, withEffect, withEffectTrack, withoutTileset, withTileset,
} from './rows.js';
import { setUpSearch } from './search.js';
import { setUpShare } from './share.js';
import { currentTheme, paletteOf, setUpTheme } from './theme.js';
import { setUpToolbar } from './toolbar.js';
import { effectIn, fromViewconf, SEQUENCE, toViewconf, totalHeight } from './viewconf.js';

const SHOWN_AT_FIRST = 2; // tracks of an effect
const AROUND = 2000; // bp beside a variant
const NEARBY = 30; // bp beside a variant that are all changed
const PATIENCE = 250; // ms before the page says that it waits

const [, where, viewId] = /^\/(v|embed)\/([^/]+)/.exec(window.location.pathname) ?? [];
const embedded = where === 'embed';
const narrow = matchMedia('(max-width: 760px)');

/** @type {(value?: unknown) => void} */
let isReady = () => {};
window.trackserver = {
  ready: new Promise((resolve) => { isReady = resolve; }),
  hgApi: undefined,
  tilesLoaded: () => window.trackserver.ready.then(() => shown).then(() => page.browser.tilesLoaded()),
};

/** The one state of the page; the rows are all that a link stores. */
const state = {
  /** @type {import('./api.js').Site} */ site: undefined,
  /** @type {import('./genome.js').Assembly[]} */ assemblies: [],
  /** @type {import('./genome.js').Assembly} */ assembly: undefined,
  /** @type {Map<string, import('./api.js').Model>} */ models: new Map(),
  /** @type {string | null} */ model: null,
  /** @type {import('./rows.js').Catalogue} */ catalogue: new Map(),
  /** @type {import('./rows.js').Row[]} */ rows: [],
  /** @type {import('./api.js').Effect | null} */ effect: null,
  /** @type {any} a stored view that was not made here, shown as it is */ foreign: null,
  /** @type {string | null} the title of a stored view */ title: null,
};

/** The parts of the page, once they stand. */
const page = {
  /** @type {import('./browser.js').Browser} */ browser: undefined,
  /** @type {ReturnType<typeof setUpGutter>} */ gutter: undefined,
  /** @type {ReturnType<typeof setUpToolbar>} */ toolbar: undefined,
  /** @type {ReturnType<typeof setUpSearch>} */ search: undefined,
  /** @type {ReturnType<typeof setUpCatalogue>} */ catalogue: undefined,
  /** @type {ReturnType<typeof setUpEffectPanel>} */ effect: undefined,
};

const marks = () => (state.effect?.variants ?? []).flatMap((variant) => {
  const offset = offsetOf(state.assembly, variant.chrom);
  return offset === null ? [] : [{ place: offset + variant.position - 1, variant }];
});

const modelTitle = (/** @type {string} */ id) => state.models.get(id)?.title ?? id;

/** @param {[number, number]} domain @param {boolean} screen */
function viewconf(domain, screen) {
  const content = { rows: state.rows, domain, assembly: state.assembly, marks: marks().map(({ place }) => place + 0.5) };
  // Links always hold the light colours: the same view is the same link, whoever makes it.
  return toViewconf(content, paletteOf(screen ? currentTheme() : 'light'), { screen, compact: narrow.matches });
}

let shown = Promise.resolve();

/** Brings HiGlass to the state, one change after the other. @param {[number, number]} [domain] */
function refresh(domain) {
  shown = shown.then(() => draw(domain)).catch((error) => say(error.message));
  return shown;
}

/** @param {[number, number]} [domain] */
async function draw(domain) {
  if (state.foreign) return;
  const { rows } = state;
  setHeight();
  await page.browser.show(viewconf(domain ?? page.browser.domain(), true), () => page.gutter.drawRows(rows));
  page.catalogue?.refresh();
  page.toolbar.draw();
  page.gutter.settle();
  setTitle();
}

function setHeight() {
  byId('stage').style.height = `${totalHeight(state.rows, narrow.matches)}px`;
  byId('empty').hidden = state.rows.length > 0;
}

/** @param {import('./rows.js').Row[]} rows @param {[number, number]} [domain] */
function setRows(rows, domain) {
  if (state.foreign) return say('This view was made elsewhere and is shown as it is. Open the first page to choose tracks.', 'note');
  state.rows = rows;
  return refresh(domain);
}

function setTitle() {
  const what = state.effect ? state.effect.variants.map(variantText).join(' + ') : state.title;
  document.title = [what, state.site.title || 'trackserver'].filter(Boolean).join(' · ');
}

/** What is being looked for or computed; the next question puts an end to it. */
let asking = new AbortController();

function ask() {
  asking.abort();
  asking = new AbortController();
  return asking.signal;
}

/** What is typed, whatever it is. @param {string} text */
async function go(text) {
  const signal = ask();
  hush();
  try {
    const found = await api.search(text, state.assembly.name, signal);
    if (found.assembly !== state.assembly.name) await chooseAssembly(found.assembly);
    page.search.write(text);
    const domain = toDomain(state.assembly, found);
    if (!domain) say(`${state.assembly.name} has no chromosome ${found.chrom}.`);
    else if (found.variants) await computeEffect(found.variants, domain);
    else page.browser.zoomTo(domain);
  } catch (error) {
    if (!signal.aborted) say(error.message);
  }
}

/** @param {import('./api.js').Variant[]} variants @param {[number, number]} domain what to show */
async function computeEffect(variants, domain) {
  if (!state.model) return say('No model on this site can compute the effect of a variant.');
  const signal = ask();
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

/** @param {import('./api.js').Effect} effect @param {import('./api.js').EffectTrack} track */
const rowsOf = (effect, track) => effectRows(effect.id, track, changeScale(track));

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
  const signal = ask();
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
    document.querySelector(`[data-row="${rows[0].id}"]`)?.scrollIntoView({ block: narrow.matches ? 'center' : 'nearest' });
  } catch (error) {
    page.effect.mutating(null);
    if (!signal.aborted) say(error.message);
  }
}

/** The effect that a stored view shows. @param {string} id */
async function openEffect(id) {
  try {
    state.effect = await untilDone(api.effect(id), (how) => page.effect?.wait('Effect', how), ask());
    page.effect?.show(state.effect);
    page.search?.write(state.effect.question.variants.join(' + '));
    page.gutter.drawMove();
    setTitle();
  } catch (error) {
    say(error.message);
  }
}

/** @param {string} name */
async function chooseAssembly(name) {
  const assembly = state.assemblies.find((each) => each.name === name);
  if (!assembly) throw new Error(`This site has no assembly ${name}.`);
  state.assembly = assembly;
  state.effect = null;
  chooseModel();
  drawFacts();
  page.catalogue.fill([...state.catalogue.values()], name);
  page.effect.invite(state.site.examples, Boolean(state.model));
  page.search.write('');
  const start = startView();
  await setRows(start.rows, start.domain);
}

const predictors = () => [...state.models.values()].filter((model) => model.can_predict && model.assemblies.includes(state.assembly.name));

/** Keeps the model where it can predict on the assembly, else takes the site's own, else the first. */
function chooseModel() {
  const ids = predictors().map(({ id }) => id);
  state.model = [state.model, state.site.default_model, ids[0]].find((id) => id && ids.includes(id)) ?? null;
}

/** What the first page shows on an assembly. @returns {{rows: import('./rows.js').Row[], domain: [number, number]}} */
function startView() {
  const { assembly, catalogue, site } = state;
  const view = site.assembly === assembly.name ? site.view : null;
  const rows = (view?.rows ?? []).flatMap((uids) => {
    const tilesets = uids.map((uid) => catalogue.get(uid)).filter((tileset) => tileset !== undefined);
    return tilesets.length === 2 ? [pairRow(tilesets[0], tilesets[1])] : tilesets.map(signalRow);
  });
  const first = assembly.chromsizes[0];
  return {
    rows: [
      ...(assembly.genes_uid ? [genesRow(assembly.genes_uid)] : []),
      ...(assembly.has_sequence ? [sequenceRow(`${SEQUENCE}${assembly.name}`)] : []),
      ...rows,
    ],
    domain: (view && parseLocus(assembly, view.locus)) ?? [0, Math.min(first[1], 100_000)],
  };
}

/** What a link stores. */
async function storedView() {
  const stored = await api.viewconf(viewId);
  const read = fromViewconf(stored, state.catalogue);
  if (!read) {
    state.foreign = { ...stored, editable: false };
    return startView();
  }
  state.assembly = state.assemblies.find((each) => each.chromsizes_uid === read.chromsizes) ?? state.assembly;
  return read;
}

/** Assembly and model: a choice where there is one, else a word. */
function drawFacts() {
  const fact = (/** @type {string} */ id, /** @type {string} */ label, /** @type {[string, string][]} */ options, /** @type {string | null} */ value, /** @type {(value: string) => void} */ chosen) => {
    const element = options.length < 2
      ? h('span', { title: label, text: options[0]?.[1] ?? '' })
      : h('select', { 'aria-label': label, title: label, onchange: (/** @type {any} */ event) => chosen(event.target.value) },
        ...options.map(([each, text]) => h('option', { value: each, text, selected: each === value })));
    byId(id).replaceChildren(element);
  };
  fact('assembly', 'Assembly', state.assemblies.map(({ name }) => [name, name]), state.assembly.name, (name) => chooseAssembly(name).catch((error) => say(error.message)));
  fact('model', 'Model', predictors().map(({ id, title }) => [id, title]), state.model, (id) => {
    state.model = id;
    if (state.effect) computeEffect(state.effect.variants, page.browser.domain());
  });
}

/** Name and notice of the site. @param {import('./api.js').Site} site */
function drawSite(site) {
  const title = site.title || 'trackserver';
  byId('brand').replaceChildren(...(title.startsWith('trackserver') ? ['track', h('span', { text: 'server' }), title.slice(11)] : [title]));
  const badge = byId('site-notice');
  badge.hidden = !site.notice;
  // The first words stand at the top of the page, all of them below the tracks.
  badge.textContent = site.notice?.split(/[:.]/)[0] ?? '';
  badge.title = site.notice ?? '';
  byId('site-says').textContent = site.notice ?? '';
}

/** The bar of an embedded view. */
async function setUpEmbed() {
  const meta = await api.view(viewId).catch(() => null);
  state.title = meta?.title ?? null;
  byId('search').replaceWith(h('h1', { class: 'embed-title', text: state.title ?? '' }));
  byId('share').replaceWith(h('a', { class: 'button', href: `/v/${viewId}`, target: '_blank', rel: 'noopener', text: 'Open' }));
}

function setUpPanels() {
  page.catalogue = setUpCatalogue({
    shown: () => new Set(state.rows.flatMap(shownIn)),
    add: (uid) => setRows(withTileset(state.rows, uid, state.catalogue)),
    remove: (uid) => setRows(withoutTileset(state.rows, uid, state.catalogue)),
  });
  page.effect = setUpEffectPanel({ try_: go, pick, mutate, modelTitle });
  page.search = setUpSearch({ genes: () => state.assembly.genes_uid, examples: () => state.site.examples, go });
  page.catalogue.fill([...state.catalogue.values()], state.assembly.name);
  page.effect.invite(state.site.examples, Boolean(state.model));
  setUpShare({
    store: async () => {
      const title = state.effect?.variants.map(variantText).join(' + ') ?? locusText(state.assembly, page.browser.domain());
      const stored = await api.storeView(state.foreign ?? viewconf(page.browser.domain(), false), title);
      return { ...stored, title, height: totalHeight(state.rows, false) };
    },
    failed: (error) => say(error.message),
  });
}

/** Loads what the site has and shows the first view. */
async function start() {
  const [site, assemblies, models, tilesets] = await Promise.all([api.site(), api.assemblies(), api.models(), api.tilesets()]);
  Object.assign(state, {
    site, assemblies,
    models: new Map(models.map((model) => [model.id, model])),
    catalogue: new Map(tilesets.map((tileset) => [tileset.uuid, tileset])),
    assembly: assemblies.find(({ name }) => name === site.assembly) ?? assemblies[0],
  });
  if (!state.assembly) throw new Error('This site has no assembly yet.');
  drawSite(site);
  let first = startView();
  if (viewId) first = await storedView().catch((error) => { say(error.message); return first; });
  chooseModel();
  state.rows = first.rows;
  drawFacts();
  if (embedded) await setUpEmbed();
  else setUpPanels();
  await showFirst(parseLocus(state.assembly, decodeURIComponent(window.location.hash.slice(1))) ?? first.domain);
  const effect = effectIn(state.rows);
  const asked = viewId ? null : new URLSearchParams(window.location.search).get('q') ?? (window.location.hash ? null : site.show);
  isReady();
  if (effect) openEffect(effect);
  else if (asked) go(asked);
}

/** @param {[number, number]} domain */
async function showFirst(domain) {
  setHeight();
  if (state.foreign) byId('view').classList.add('foreign');
  page.browser = await mount(byId('higlass'), state.foreign ?? viewconf(domain, true));
  window.trackserver.hgApi = page.browser.hgApi;
  page.gutter = setUpGutter({
    browser: page.browser,
    state: () => ({ assembly: state.assembly, compact: narrow.matches, marks: marks() }),
    describe: (row) => describe(row, state.catalogue, { models: new Map([...state.models].map(([id, { title }]) => [id, title])), assembly: state.assembly.name }),
    remove: (id) => setRows(state.rows.filter((row) => row.id !== id)),
  });
  page.toolbar = setUpToolbar({
    browser: page.browser, assembly: () => state.assembly,
    moved: (locus) => history.replaceState(null, '', `#${locus}`),
  });
  new ResizeObserver(() => page.gutter.redraw()).observe(byId('higlass'));
  narrow.addEventListener('change', () => refresh());
  window.addEventListener('hashchange', () => {
    const domain = parseLocus(state.assembly, decodeURIComponent(window.location.hash.slice(1)));
    if (domain) page.browser.zoomTo(domain);
  });
  page.gutter.drawRows(state.foreign ? [] : state.rows);
  page.toolbar.draw();
  page.gutter.settle();
  setTitle();
}

setUpTheme(() => page.browser && refresh());
start().catch((error) => say(error.message));
