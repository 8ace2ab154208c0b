import { byId, h } from './dom.js';

/** The bar at the top: what the site is called and says of itself, and what is chosen. */

/** Name and notice of the site. @param {import('./api.js').Site} site */
export function drawSite(site) {
  const title = site.title || 'trackserver';
  byId('brand').replaceChildren(...(title.startsWith('trackserver') ? ['track', h('span', { text: 'server' }), title.slice(11)] : [title]));
  const badge = byId('site-notice');
  badge.hidden = !site.notice;
  // The first words stand at the top of the page, all of them below the tracks.
  badge.textContent = site.notice?.split(/[:.]/)[0] ?? '';
  badge.title = site.notice ?? '';
  byId('site-says').textContent = site.notice ?? '';
}

/**
 * Assembly or model: a choice where there is one, else a word.
 *
 * @param {'assembly' | 'model'} id @param {string} label @param {[string, string][]} options values and their words
 * @param {string | null} value @param {(value: string) => void} chosen
 */
export function drawFact(id, label, options, value, chosen) {
  const element = options.length < 2
    ? h('span', { title: label, text: options[0]?.[1] ?? '' })
    : h('select', { 'aria-label': label, title: label, onchange: (/** @type {any} */ event) => chosen(event.target.value) },
      ...options.map(([each, text]) => h('option', { value: each, text, selected: each === value })));
  byId(id).replaceChildren(element);
}

/** The bar of an embedded view. @param {string} viewId @param {string | null} title */
export function drawEmbed(viewId, title) {
  byId('search').replaceWith(h('h1', { class: 'embed-title', text: title ?? '' }));
  byId('share').replaceWith(h('a', { class: 'button', href: `/v/${viewId}`, target: '_blank', rel: 'noopener', text: 'Open' }));
}
