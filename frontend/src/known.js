import { api } from './api.js';

/**
 * The tilesets that the page has to know: those it shows and their counterparts, never the whole catalogue.
 *
 * @param {import('./rows.js').Catalogue} known
 */
export function tilesetsKnown(known) {
  /** @param {(string | null | undefined)[]} uids */
  const fetched = async (uids) => {
    const missing = [...new Set(uids)].filter((uid) => uid && !known.has(uid));
    const found = await Promise.all(missing.map((uid) => api.tileset(uid).catch((error) => {
      if (error.status === 404) return null; // it has been removed since: its track says so
      throw error;
    })));
    for (const tileset of found) if (tileset) known.set(tileset.uuid, tileset);
  };
  return {
    /** @param {import('./api.js').Tileset[]} tilesets */
    keep: (tilesets) => tilesets.forEach((tileset) => known.set(tileset.uuid, tileset)),
    /** Asks for those that are not known yet. @param {string[]} uids */
    async learn(uids) {
      await fetched(uids);
      await fetched(uids.map((uid) => known.get(uid)?.pair));
    },
  };
}
