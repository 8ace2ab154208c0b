import './style.css';
import { setUpAgreement } from './agreement.js';
import { api } from './api.js';
import { mount } from './browser.js';
import { setUpCatalogue } from './catalogue.js';
import { atRest, byId } from './dom.js';
import { setUpEffectPanel } from './effectpanel.js';
import { startView, storedView } from './firstview.js';
import { lociIn, locusText, offsetOf, parseLocus, plainLocus, toDomain, variantText } from './genome.js';
import { setUpGutter } from './gutter.js';
import { drawEmbed, drawFact, drawSite } from './head.js';
import { tilesetsKnown } from './known.js';
import { marginOf } from './margin.js';
import { hush, say } from './notice.js';
import { setUpOpenIn } from './openin.js';
import { describe, isEffect, shownIn, withoutTileset, withTileset, withEffect } from './rows.js';
import { setUpSearch } from './search.js';
import { setUpShapes } from './shapes.js';
import { setUpShare } from './share.js';
import { currentTheme, paletteOf, setUpTheme } from './theme.js';
import { setUpToolbar } from './toolbar.js';
import { setUpVariants } from './variants.js';
import { effectIn, toViewconf, totalHeight } from './viewconf.js';

const REST = 250; // ms without a move after which a view is looked at

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

/** The one state of the page; rows and shapes are all that a link stores. */
const state = {
  /** @type {import('./api.js').Site} */ site: undefined,
  /** @type {import('./genome.js').Assembly[]} */ assemblies: [],
  /** @type {import('./genome.js').Assembly} */ assembly: undefined,
  /** @type {Map<string, import('./api.js').Model>} */ models: new Map(),
  /** @type {string | null} */ model: null,
  /** @type {import('./rows.js').Catalogue} */ catalogue: new Map(),
  /** @type {import('./rows.js').Row[]} */ rows: [],
  /** Whether predicted and measured are drawn each on a scale of its own. */ shapes: false,
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
  /** @type {ReturnType<typeof setUpAgreement>} */ agreement: undefined,
  /** @type {ReturnType<typeof setUpShapes>} */ shapes: undefined,
  /** @type {ReturnType<typeof setUpOpenIn>} */ openIn: undefined,
};

const { keep, learn } = tilesetsKnown(state.catalogue);
const variants = setUpVariants({ state, page, isNarrow: () => narrow.matches, titled: setTitle, setRows, again: computeAgain });

const marks = () => (state.effect?.variants ?? []).flatMap((variant) => {
  const offset = offsetOf(state.assembly, variant.chrom);
  return offset === null ? [] : [{ place: offset + variant.position - 1, variant }];
});

/** The rows that are drawn: of a view that was made elsewhere, none. */
const rowsShown = () => (state.foreign ? [] : state.rows);

const modelTitle = (/** @type {string} */ id) => state.models.get(id)?.title ?? id;

/** @param {[number, number]} domain @param {boolean} screen */
function viewconf(domain, screen) {
  const tops = state.shapes ? (/** @type {string} */ track) => page.browser?.scale(track)?.[1] : null;
  const content = { rows: state.rows, domain, assembly: state.assembly, marks: marks().map(({ place }) => place + 0.5), tops };
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
  page.shapes.draw();
  await page.browser.show(viewconf(domain ?? page.browser.domain(), true), () => page.gutter.drawRows(rows));
  page.catalogue?.refresh();
  page.openIn.draw();
  page.toolbar.draw();
  look();
  setTitle();
}

/** What is said of what is in view, once the view rests. */
async function look() {
  page.agreement.refresh();
  await page.browser.tilesLoaded();
  page.shapes.fit();
  page.gutter.drawMove();
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

/** What is typed, whatever it is. @param {string} text */
async function go(text) {
  const signal = variants.begin();
  hush();
  try {
    const found = await api.search(text, state.assembly.name, signal);
    if (found.assembly !== state.assembly.name) await chooseAssembly(found.assembly);
    page.search.write(text);
    const domain = toDomain(state.assembly, found);
    if (!domain) say(`${state.assembly.name} has no chromosome ${found.chrom}.`);
    else if (found.variants) await variants.compute(found.variants, domain);
    else page.browser.zoomTo(domain);
  } catch (error) {
    if (!signal.aborted) say(error.message);
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
  page.catalogue.fill(name);
  page.effect.invite(state.site.examples, Boolean(state.model));
  page.search.write('');
  const start = await startView(state.site, assembly, state.catalogue, learn);
  await setRows(start.rows, start.domain);
}

const predictors = () => [...state.models.values()].filter((model) => model.can_predict && model.assemblies.includes(state.assembly.name));

/** Keeps the model where it can predict on the assembly, else takes the site's own, else the first. */
function chooseModel() {
  const ids = predictors().map(({ id }) => id);
  state.model = [state.model, state.site.default_model, ids[0]].find((id) => id && ids.includes(id)) ?? null;
}

/** What is chosen, or can be. */
function drawFacts() {
  const { assembly, assemblies, model } = state;
  drawFact('assembly', 'Assembly', assemblies.map(({ name }) => [name, name]), assembly.name, toAssembly);
  drawFact('model', 'Model', predictors().map(({ id, title }) => [id, title]), model, (id) => {
    state.model = id;
    if (state.effect) variants.compute(state.effect.variants, page.browser.domain());
  });
}

const toAssembly = (/** @type {string} */ name) => chooseAssembly(name).catch((error) => say(error.message));

/** Shows a tileset, with its counterpart where that is known. @param {string} uid */
async function add(uid) {
  try {
    await learn([uid]);
    await setRows(withTileset(state.rows, uid, state.catalogue));
  } catch (error) {
    say(error.message);
  }
}

/** @param {string} id of a row @param {import('./rows.js').Row} instead */
const replace = (id, instead) => setRows(state.rows.map((row) => (row.id === id ? instead : row)));

/** What a margin has no room for. @param {string} sentences */
function tell(sentences) {
  say(sentences, 'note');
  byId('notice').scrollIntoView({ block: 'nearest' });
}

/** @param {boolean} on */
function compareShapes(on) {
  state.shapes = on;
  refresh();
}

/** The tracks on screen that other browsers could show too, and where. */
function onScreen() {
  const places = lociIn(state.assembly, page.browser.domain());
  const widest = places.reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a));
  return { d: rowsShown().flatMap(shownIn).filter((uid) => state.catalogue.has(uid)), locus: plainLocus(widest), assembly: state.assembly.name, effect: state.rows.some(isEffect) };
}

function setUpPanels() {
  page.catalogue = setUpCatalogue({
    shown: () => new Set(state.rows.flatMap(shownIn)),
    add,
    remove: (uid) => setRows(withoutTileset(state.rows, uid, state.catalogue)),
    keep,
    chooseAssembly: toAssembly,
    severalModels: () => state.models.size > 1,
  });
  page.effect = setUpEffectPanel({ try_: go, pick: variants.pick, mutate: variants.mutate, modelTitle });
  page.search = setUpSearch({ genes: () => state.assembly.genes_uid, examples: () => state.site.examples, go });
  page.catalogue.fill(state.assembly.name);
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

/** A stored view whose effect is not stored any more, as after an upgrade: says so, and offers to compute it again. */
async function computeAgain() {
  const text = (await api.view(viewId).catch(() => null))?.title ?? '';
  const known = page.search && text && !text.includes('…'); // a long allele is shortened in a title
  say(
    `The effect in this view is no longer stored on this server${text ? `: ${text}` : ''}.`, 'note',
    known ? { label: 'Compute it again', run: async () => { await setRows(withEffect(state.rows, [])); go(text); } } : undefined,
  );
}

/** What the page's link stores; nothing where it cannot be read, or was made elsewhere. */
async function openStored() {
  try {
    const { read, foreign } = await storedView(viewId, state.catalogue, learn);
    state.foreign = foreign;
    state.assembly = state.assemblies.find((each) => each.chromsizes_uid === read?.chromsizes) ?? state.assembly;
    return read;
  } catch (error) {
    say(error.message);
    return null;
  }
}

/** Loads what the site has and shows the first view. */
async function start() {
  const [site, assemblies, models] = await Promise.all([api.site(), api.assemblies(), api.models()]);
  Object.assign(state, {
    site, assemblies,
    models: new Map(models.map((model) => [model.id, model])),
    assembly: assemblies.find(({ name }) => name === site.assembly) ?? assemblies[0],
  });
  if (!state.assembly) throw new Error('This site has no assembly yet.');
  drawSite(site);
  const first = (viewId && await openStored()) || await startView(site, state.assembly, state.catalogue, learn);
  chooseModel();
  Object.assign(state, { rows: first.rows, shapes: first.shapes });
  drawFacts();
  if (embedded) {
    state.title = (await api.view(viewId).catch(() => null))?.title ?? null;
    drawEmbed(viewId, state.title);
  } else setUpPanels();
  await showFirst(parseLocus(state.assembly, decodeURIComponent(window.location.hash.slice(1))) ?? first.domain);
  const effect = effectIn(state.rows);
  const asked = viewId ? null : new URLSearchParams(window.location.search).get('q') ?? (window.location.hash ? null : site.show);
  isReady();
  if (effect) variants.open(effect);
  else if (asked) go(asked);
}

/** @param {[number, number]} domain */
async function showFirst(domain) {
  setHeight();
  if (state.foreign) byId('view').classList.add('foreign');
  page.browser = await mount(byId('higlass'), state.foreign ?? viewconf(domain, true));
  window.trackserver.hgApi = page.browser.hgApi;
  page.agreement = setUpAgreement({
    pairs: () => rowsShown().filter((row) => row.kind === 'pair'),
    loci: () => lociIn(state.assembly, page.browser.domain()),
    changed: () => page.gutter.drawMargins(),
  });
  page.shapes = setUpShapes({ browser: page.browser, rows: rowsShown, isOn: () => state.shapes, turn: compareShapes });
  page.gutter = setUpGutter({
    browser: page.browser,
    state: () => ({ assembly: state.assembly, compact: narrow.matches, shapes: state.shapes, marks: marks() }),
    describe: (row) => describe(row, state.catalogue, { models: new Map([...state.models].map(([id, { title }]) => [id, title])), assembly: state.assembly.name }),
    margin: (row) => marginOf(row, {
      rows: state.rows, catalogue: state.catalogue, agreement: page.agreement.of(row.id), tell, replace,
    }),
    remove: (id) => setRows(state.rows.filter((row) => row.id !== id)),
  });
  page.toolbar = setUpToolbar({
    browser: page.browser, assembly: () => state.assembly,
    moved: (locus) => history.replaceState(null, '', `#${locus}`),
  });
  page.browser.onMove(page.agreement.moved);
  page.browser.onMove(atRest(look, REST));
  new ResizeObserver(() => page.gutter.redraw()).observe(byId('higlass'));
  narrow.addEventListener('change', () => refresh());
  window.addEventListener('hashchange', () => {
    const domain = parseLocus(state.assembly, decodeURIComponent(window.location.hash.slice(1)));
    if (domain) page.browser.zoomTo(domain);
  });
  page.gutter.drawRows(rowsShown());
  page.openIn = setUpOpenIn({ shown: onScreen, failed: (error) => say(error.message) });
  page.toolbar.draw();
  page.shapes.draw();
  page.openIn.draw();
  look();
  setTitle();
}

setUpTheme(() => page.browser && refresh());
start().catch((error) => say(error.message));
