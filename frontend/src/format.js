const MINUS = '\u2212';

/**
 * A number for reading: about three digits, a true minus sign, no exponent unless it must be.
 *
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  let text;
  if (size === 0) text = '0';
  else if (size >= 1000) text = Math.round(size).toLocaleString('en-US');
  else if (size >= 100) text = size.toFixed(0);
  else if (size >= 10) text = size.toFixed(1);
  else if (size >= 0.01) text = size.toFixed(2);
  else if (size >= 0.0001) text = size.toPrecision(1);
  else text = size.toExponential(0).replace('-', MINUS);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

/** To hundredths, as figures between -1 and 1 are written. @param {number} value */
export function fixed(value) {
  const text = Math.abs(value).toFixed(2);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

/** With its sign, plus as well as minus. @param {number | null | undefined} value */
export function signed(value) {
  return value !== null && value !== undefined && value > 0 ? `+${number(value)}` : number(value);
}

/** A log fold change, to hundredths: what is below is no change. @param {number | null | undefined} value */
export const foldChange = (value) => (value !== null && Math.abs(value ?? NaN) < 0.005 ? '0' : signed(value));

/** @param {number} value */
export const whole = (value) => Math.round(value).toLocaleString('en-US');

/** A length of sequence. @param {number} bp */
export function bases(bp) {
  const size = Math.round(Math.abs(bp));
  if (size >= 1e6) return `${trim(size / 1e6)} Mb`;
  if (size >= 1e3) return `${trim(size / 1e3)} kb`;
  return `${size} bp`;
}

/** The next round number up, to two digits: the end of a symmetric scale. @param {number} value */
export function ceilNice(value) {
  if (!(value > 0)) return 1;
  const step = 10 ** (Math.floor(Math.log10(value)) - 1);
  // Division by a power of ten leaves dust behind (0.30000000000000004).
  return Number((Math.ceil(value / step - 1e-9) * step).toPrecision(2));
}

/** @param {number} value */
const trim = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, ''));
