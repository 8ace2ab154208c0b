import { api } from './api.js';
import { parseLocus } from './genome.js';
import { genesRow, pairRow, sequenceRow, signalRow } from './rows.js';
import { fromViewconf, SEQUENCE, signalsIn } from './viewconf.js';

/**
 * What the page opens with.
 *
 * @typedef {{rows: import('./rows.js').Row[], domain: [number, number], shapes: boolean}} View
 * @typedef {(uids: string[]) => Promise<void>} Learn  makes tilesets known to the catalogue
 */

/**
 * The first view of an assembly: the site's own, or genes and sequence.
 *
 * @param {import('./api.js').Site} site @param {import('./genome.js').Assembly} assembly
 * @param {import('./rows.js').Catalogue} catalogue @param {Learn} learn
 * @returns {Promise<View>}
 */
export async function startView(site, assembly, catalogue, learn) {
  const view = site.assembly === assembly.name ? site.view : null;
  await learn((view?.rows ?? []).flat());
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
    shapes: false,
  };
}

/**
 * What a link stores: rows, or a view that was not made here, which is shown as it is.
 *
 * @param {string} id @param {import('./rows.js').Catalogue} catalogue @param {Learn} learn
 * @returns {Promise<{read: ReturnType<typeof fromViewconf>, foreign: any}>}
 */
export async function storedView(id, catalogue, learn) {
  const stored = await api.viewconf(id);
  await learn(signalsIn(stored));
  const read = fromViewconf(stored, catalogue);
  return { read, foreign: read ? null : { ...stored, editable: false } };
}
