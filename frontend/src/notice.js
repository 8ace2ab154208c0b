import { byId, h } from './dom.js';

/**
 * Says one sentence above the tracks until it is dismissed or the next one comes.
 *
 * @param {string} sentence
 * @param {'error' | 'note'} [kind]
 */
export function say(sentence, kind = 'error') {
  byId('notice').replaceChildren(h('div', { class: `notice ${kind}`, 'data-testid': 'notice' },
    h('span', { text: sentence }),
    h('button', { type: 'button', class: 'close', 'aria-label': 'Dismiss', text: '×', onclick: hush })));
}

export function hush() {
  byId('notice').replaceChildren();
}
