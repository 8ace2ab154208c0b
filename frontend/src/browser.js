import * as hglib from 'higlass';
import { settings, utils } from 'pixi.js';
import { sequenceTrack } from './sequencetrack.js';

utils.skipHello(); // its greeting has no place in a lab's console
settings.ROUND_PIXELS = true; // letters between two pixels are blurred

// Here and not among the options: it looks its first view through before it reads them.
Object.assign(window, { higlassTracksByType: { [sequenceTrack.config.type]: sequenceTrack } });

/**
 * HiGlass, as far as the page uses it. Everything that reaches below HiGlass's published API is in this file.
 *
 * @typedef {Awaited<ReturnType<typeof mount>>} Browser
 */

const OPTIONS = {
  bounded: true, // the page gives the height; HiGlass fills it
  viewMarginTop: 0, viewMarginBottom: 0, viewMarginLeft: 0, viewMarginRight: 0,
  viewPaddingTop: 0, viewPaddingBottom: 0, viewPaddingLeft: 0, viewPaddingRight: 0,
  containerPaddingX: 0, containerPaddingY: 0,
};

/** The next frame, or a moment later where none is drawn, as in a tab that is hidden. */
const frame = () => new Promise((resolve) => {
  requestAnimationFrame(resolve);
  setTimeout(resolve, 100);
});

/** @param {HTMLElement} element its height must be set @param {any} viewconf */
export async function mount(element, viewconf) {
  const hgApi = await hglib.viewer(element, structuredClone(viewconf), OPTIONS);
  const component = hgApi.getComponent();
  /** @type {(() => void)[]} */
  const listeners = [];
  let view = viewconf.views[0].uid ?? Object.keys(component.tiledPlots)[0];
  const moved = () => listeners.forEach((listener) => listener());

  const objects = () => Object.values(component.tiledPlots)
    .flatMap((plot) => Object.values(plot?.trackRenderer?.trackDefObjects ?? {}))
    .flatMap(({ trackObject }) => trackObject.childTracks ?? [trackObject]);

  const renderer = () => component.tiledPlots[view]?.trackRenderer;

  const ready = () => objects().every((track) => !track.areAllVisibleTilesLoaded
    || track.tilesetInfoError || (track.tilesetInfo && track.visibleTiles && track.areAllVisibleTilesLoaded()));

  /**
   * Fills the element anew. HiGlass measures once per change, which may be before what it changed has been laid out,
   * and then goes on cutting off what lies below its former height.
   */
  async function fit() {
    const fits = () => renderer()?.currentProps.height === element.clientHeight;
    if (fits()) return;
    component.updateAfterResize();
    for (let tries = 0; tries < 20 && !fits(); tries += 1) {
      await frame();
      hgApi.measureSize();
    }
    renderer()?.setMask();
    renderer()?.setBackground();
    // Else it measures and draws on every frame for three seconds.
    component.clearDragTimeout();
    component.notifyDragChangedListeners(false);
    component.animate();
  }

  /** @returns {[number, number]} what is in view, on the axis of all chromosomes */
  const domain = () => (renderer()?.currentXScale ?? component.xScales[view]).domain();

  /** @param {[number, number]} domain */
  function zoomTo([from, to]) {
    hgApi.zoomTo(view, from, to, undefined, undefined, 0);
    renderer()?.applyZoomTransform(true); // HiGlass tells of moves that people make, not of these
  }

  hgApi.on('location', moved, view);

  return {
    hgApi,

    /**
     * Shows another viewconf; tracks that stay keep their tiles.
     *
     * @param {any} next
     * @param {() => void} placed called when tracks have their places, and once more when all is in order
     */
    async show(next, placed) {
      const uid = next.views[0].uid;
      await hgApi.setViewConfig(structuredClone(next), true);
      if (uid !== view) {
        view = uid;
        hgApi.on('location', moved, view);
      }
      // A view that starts where the one before had started stays where people have moved it since.
      zoomTo(next.views[0].initialXDomain);
      placed();
      await fit();
      placed();
    },

    domain,
    zoomTo,

    /** Calls when another part of the genome comes into view. @param {() => void} listener */
    onMove: (listener) => listeners.push(listener),

    /** Where a track lies in the canvas. @param {string} uid @returns {{top: number, height: number, width: number} | null} */
    place(uid) {
      const track = renderer()?.trackDefObjects[uid]?.trackObject;
      return track?.position ? { top: track.position[1], height: track.dimensions[1], width: track.dimensions[0] } : null;
    },

    /** The scale a track is drawn on, once it has data. @param {string} uid @returns {[number, number] | null} */
    scale(uid) {
      const track = renderer()?.getTrackObject(uid);
      const domain = track?.visibleAndFetchedTiles?.().length ? track.valueScale?.domain() : null;
      return domain?.every(Number.isFinite) ? domain : null;
    },

    /** What a track shows at a pixel. @param {string} uid @param {number} x @returns {number | null} */
    valueAt(uid, x) {
      const track = renderer()?.getTrackObject(uid);
      const value = track?.tilesetInfo && track.visibleAndFetchedTiles().length ? track.getDataAtPos(x) : null;
      return Number.isFinite(value) ? value : null;
    },

    /** All values a track draws of what is in view. @param {string} uid @returns {number[]} */
    values(uid) {
      const track = renderer()?.getTrackObject(uid);
      return (track?.visibleAndFetchedTiles?.() ?? []).filter(({ tileData }) => tileData.dense)
        .flatMap((tile) => Array.from(tile.tileData.dense.slice(...track.getIndicesOfVisibleDataInTile(tile))).filter(Number.isFinite));
    },

    /** Draws a track from 0 to a value, or with none as its viewconf says. @param {string} uid @param {number} [top] */
    setScale(uid, top) {
      if (renderer()?.getTrackObject(uid)) hgApi.setTrackValueScaleLimits(view, uid, top === undefined ? undefined : 0, top);
    },

    /** Resolves when every visible tile has come and been drawn. @returns {Promise<void>} */
    tilesLoaded: () => new Promise((resolve) => {
      const look = () => (ready() ? setTimeout(resolve, 150) : setTimeout(look, 50));
      look();
    }),
  };
}
