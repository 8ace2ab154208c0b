import { byId, h } from './dom.js';

/**
 * Says one sentence above the tracks until it is dismissed or the next one comes.
 *
 * @param {string} sentence
 * @param {'error' | 'note'} [kind]
 * @param {{label: string, run: () => void}} [action] what a button beside it offers
 */
export function say(sentence, kind = 'error', action = undefined) {
  byId('notice').replaceChildren(h('div', { class: `notice ${kind}`, 'data-testid': 'notice' },
    h('span', { text: sentence }),
    ...(action ? [h('button', { type: 'button', class: 'action', text: action.label, onclick: action.run })] : []),
    h('button', { type: 'button', class: 'close', 'aria-label': 'Dismiss', text: '×', onclick: hush })));
}

export function hush() {
  byId('notice').replaceChildren();
}
