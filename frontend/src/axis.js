import { h } from './dom.js';
import { whole } from './format.js';
import { chromosomes } from './genome.js';

const LABEL_WIDTH = 88;

/**
 * Round places for labels between two ends: steps of 1, 2, 2.5 or 5 times a power of ten, whole bases all.
 *
 * @param {number} from @param {number} to @param {number} count about how many
 * @returns {number[]}
 */
export function ticks(from, to, count) {
  const rough = (to - from) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factors = power >= 10 ? [1, 2, 2.5, 5, 10] : [1, 2, 5, 10];
  const step = Math.max(1, power * factors.find((factor) => factor * power >= rough));
  const all = [];
  for (let place = Math.ceil(from / step) * step; place <= to; place += step) all.push(place);
  return all;
}

/**
 * What the axis says: coordinates within the chromosomes in view, or only their names where they are narrow.
 *
 * @param {import('./genome.js').Assembly} assembly
 * @param {[number, number]} domain
 * @param {number} width in pixels
 * @param {boolean} named whether each label has to name its chromosome
 * @returns {{labels: {x: number, text: string, tick: boolean}[], ends: number[]}}
 */
export function axisOf(assembly, domain, width, named) {
  const x = (/** @type {number} */ place) => ((place - domain[0]) / (domain[1] - domain[0])) * width;
  const inView = chromosomes(assembly).filter(({ offset, length }) => offset < domain[1] && offset + length > domain[0]);
  const labels = inView.flatMap(({ chrom, offset, length }) => {
    const [left, right] = [Math.max(0, x(offset)), Math.min(width, x(offset + length))];
    const room = Math.floor((right - left) / LABEL_WIDTH);
    const prefix = named || inView.length > 1 ? `${chrom}:` : '';
    if (room < 2 && inView.length > 1) return right - left > 30 ? [{ x: (left + right) / 2, text: chrom, tick: false }] : [];
    // A base is drawn from its 0-based start to its end: the label of base n stands over its middle.
    return ticks(Math.max(1, domain[0] - offset + 1), Math.min(length, domain[1] - offset), room || 1)
      .map((position) => ({ x: x(offset + position - 0.5), text: prefix + whole(position), tick: true }));
  });
  return { labels: apart(labels, width), ends: inView.slice(1).map(({ offset }) => x(offset)) };
}

/** Keeps labels inside the axis and off each other. @param {{x: number, text: string, tick: boolean}[]} labels @param {number} width */
function apart(labels, width) {
  const half = (/** @type {string} */ text) => text.length * 3.2 + 4;
  let free = 0;
  return labels.filter(({ x, text }) => {
    const fits = x - half(text) >= free && x + half(text) <= width;
    if (fits) free = x + half(text) + 8;
    return fits;
  });
}

/** @param {SVGElement} svg @param {ReturnType<typeof axisOf>} axis @param {number} height */
export function drawAxis(svg, { labels, ends }, height) {
  svg.replaceChildren(
    ...ends.map((x) => h('svg:line', { x1: x, x2: x, y1: 2, y2: height, class: 'end' })),
    ...labels.flatMap(({ x, text, tick }) => [
      h('svg:text', { x, y: height - 11, 'text-anchor': 'middle', text }),
      ...(tick ? [h('svg:line', { x1: x, x2: x, y1: height - 6, y2: height - 1 })] : []),
    ]),
  );
}
