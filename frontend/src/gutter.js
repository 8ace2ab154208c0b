import { axisOf, drawAxis } from './axis.js';
import { byId, h, perFrame } from './dom.js';
import { number } from './format.js';
import { variantText } from './genome.js';
import { LETTER_WIDTH } from './sequencetrack.js';
import { shapesFigure } from './shapes.js';
import { AXIS, layout, scaled } from './viewconf.js';

/**
 * What the page writes over and beside HiGlass's canvas: row names, scales, what else is said of a row in its margin, the
 * axis, a line at the variant.
 *
 * @param {{
 *   browser: import('./browser.js').Browser,
 *   state: () => {assembly: import('./genome.js').Assembly, compact: boolean, shapes: boolean, marks: {place: number, variant: import('./api.js').Variant}[]},
 *   describe: (row: import('./rows.js').Row) => ReturnType<typeof import('./rows.js').describe>,
 *   margin: (row: import('./rows.js').Row) => Node[],
 *   remove: (id: string) => void,
 * }} parts
 */
export function setUpGutter({ browser, state, describe, margin, remove }) {
  const overlay = byId('overlay');
  const svg = h('svg', { class: 'axis', 'aria-hidden': 'true' });
  const chrom = h('div', { class: 'chrom' });
  const marks = h('div', { class: 'marks' });
  const rowsElement = h('div', { class: 'rows' });
  overlay.replaceChildren(svg, chrom, marks, rowsElement);
  /** @type {Map<string, {scale: any, margin: any}>} what stands in the margin, by row id */
  const figures = new Map();
  let hover = /** @type {number | null} */ (null);
  let drawn = /** @type {import('./rows.js').Row[]} */ ([]);

  /** Names and lines, once HiGlass has laid the rows out. @param {import('./rows.js').Row[]} rows */
  function drawRows(rows) {
    drawn = rows;
    const { compact } = state();
    const focused = document.activeElement?.closest('.remove')?.closest('[data-row]')?.getAttribute('data-row');
    figures.clear();
    rowsElement.replaceChildren(...layout(rows, compact).map(({ row, gap }) => {
      const { title, place, role, why } = describe(row);
      const spoken = [title, place, role].filter(Boolean).join(', ');
      const at = browser.place(row.id);
      const figure = { scale: h('div', { class: 'scale' }), margin: h('div', { class: 'margin' }) };
      figures.set(row.id, figure);
      const element = h('div', { class: `row ${row.kind}${gap < 10 ? ' tight' : ''}`, 'data-row': row.id, 'data-kind': row.kind, role: 'group', 'aria-label': spoken },
        h('div', { class: 'name', title: why ? `${spoken} (${why})` : spoken },
          h('b', { text: title }), place ? h('span', { class: 'place', text: place }) : null, role ? h('span', { text: role }) : null),
        row.kind === 'pending' ? h('div', { class: 'skeleton', 'aria-hidden': 'true' }) : null,
        row.kind === 'map' ? h('div', { class: 'bases', 'aria-hidden': 'true' }, ...[...'ACGT'].map((base) => h('span', { text: base }))) : null,
        row.kind === 'sequence' || row.kind === 'logo' ? h('div', { class: 'hint', text: 'Zoom in to see bases' }) : null,
        h('div', { class: 'figure' }, figure.scale, figure.margin),
        row.kind === 'pending' ? null : h('button', {
          type: 'button', class: 'remove', 'aria-label': `Remove ${spoken}`, title: 'Remove', text: '×', onclick: () => remove(row.id),
        }));
      element.style.setProperty('--gap', `${gap}px`);
      if (row.kind === 'logo') element.style.setProperty('--zero', `${(row.max / (row.max - row.min)) * 100}%`);
      Object.assign(element.style, { top: `${at?.top ?? 0}px`, height: `${at?.height ?? 0}px` });
      return element;
    }));
    if (focused) rowsElement.querySelector(`[data-row="${CSS.escape(focused)}"] .remove`)?.focus();
    drawMargins();
    drawMove();
  }

  /** Everything that moves with the view. */
  function drawMove() {
    const { assembly, marks: variants } = state();
    const place = browser.place(AXIS);
    if (!place) return;
    const domain = browser.domain();
    const axis = axisOf(assembly, domain, place.width, false);
    svg.setAttribute('width', String(place.width));
    svg.setAttribute('height', String(place.height));
    drawAxis(svg, axis, place.height);
    chrom.textContent = chromInView(assembly, domain) ?? '';
    const perBase = place.width / (domain[1] - domain[0]);
    marks.replaceChildren(...variants.flatMap(({ place: at, variant }) => {
      const [x, width] = [(at - domain[0]) * perBase, Math.max(1, variant.ref.length) * perBase];
      if (x + width < 0 || x > place.width) return [];
      const wide = perBase >= LETTER_WIDTH;
      const mark = h('div', { class: wide ? 'mark wide' : 'mark', title: variantText(variant) });
      Object.assign(mark.style, { top: `${place.height - 6}px`, ...(wide ? { left: `${x}px`, width: `${width}px` } : { left: `${x + width / 2}px` }) });
      return [mark];
    }));
    for (const row of rowsElement.querySelectorAll('.row.sequence, .row.logo')) row.classList.toggle('far', perBase < 1);
    drawFigures();
  }

  /** What else is said of the rows in their margin. */
  function drawMargins() {
    for (const row of drawn) {
      const element = figures.get(row.id)?.margin;
      const focused = element?.contains(document.activeElement);
      element?.replaceChildren(...margin(row));
      if (focused) element.querySelector('button')?.focus();
    }
  }

  /** A row's scale, or what lies under the pointer. */
  function drawFigures() {
    for (const row of drawn) figures.get(row.id)?.scale.replaceChildren(...(hover === null ? scaleFigure(row) : valueFigure(row, hover)));
  }

  /** @param {import('./rows.js').Row} row */
  function scaleFigure(row) {
    if (row.kind === 'delta' || row.kind === 'map') return [`±${number(row.max)}`];
    if (row.kind === 'logo') return [`0 – ${number(row.max)}`];
    const scales = scaled(row).map(browser.scale);
    if (row.kind === 'pair' && state().shapes) return scales.includes(null) ? [] : [shapesFigure(scales)];
    const [scale] = scales;
    // Where all is zero HiGlass has a scale of its own making.
    return scale ? [scale[1] > 0 ? `0 – ${number(scale[1])}` : '0'] : [];
  }

  /** @param {import('./rows.js').Row} row @param {number} x */
  function valueFigure(row, x) {
    const value = (/** @type {string} */ name, /** @type {string} */ uid) => h('span', { class: `value ${name}`, text: number(browser.valueAt(uid, x)) });
    switch (row.kind) {
      case 'signal': return [value(row.role, row.id)];
      case 'pair': return [value('predicted', `${row.id}-predicted`), value('observed', `${row.id}-observed`)];
      case 'alleles': return [value('ref', `${row.id}-ref`), value('alt', `${row.id}-alt`)];
      case 'delta': return [value('delta', row.id)];
      default: return [];
    }
  }

  const move = perFrame(drawMove);
  browser.onMove(move);
  const stage = byId('stage');
  const canvas = byId('higlass');
  const point = perFrame((/** @type {PointerEvent} */ event) => {
    const mouse = event.pointerType === 'mouse' && !state().compact;
    hover = mouse ? event.clientX - canvas.getBoundingClientRect().left : null;
    drawFigures();
  });
  canvas.addEventListener('pointermove', point);
  stage.addEventListener('pointerleave', () => {
    hover = null;
    drawFigures();
  });

  return {
    drawRows,
    drawMargins,
    /** When the width has changed, but not the rows. */
    redraw: () => drawRows(drawn),
    drawMove: move,
  };
}

/** The chromosome, when one only is in view. @param {import('./genome.js').Assembly} assembly @param {[number, number]} domain */
function chromInView(assembly, domain) {
  let offset = 0;
  const seen = assembly.chromsizes.filter(([, length]) => {
    const [start, end] = [offset, offset + length];
    offset = end;
    return start < domain[1] && end > domain[0];
  });
  return seen.length === 1 ? seen[0][0] : null;
}
