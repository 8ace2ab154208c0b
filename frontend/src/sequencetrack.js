import { Container, Graphics, Sprite, Text } from 'pixi.js';

/**
 * A plug-in track for HiGlass: letters where a base is wide enough for one, bars in their colours where it is narrower,
 * and where it is less than a pixel nothing, not even a request. It answers to the name, and understands the tiles and
 * the colours, of the plug-in higlass-sequence, whose views are shown as well.
 *
 * With the options `tallest` and `deepest`, the ends of a scale, the rows of a tile hold numbers, and letters are as high
 * as their number is large: a logo. Those below zero hang from the line. `letters` are then the rows' own.
 */
const LETTERS = ['A', 'T', 'G', 'C', 'N']; // of the rows of a tile, and of the colours; a sixth row is no sequence
export const LETTER_WIDTH = 6; // pixels a base, from which on letters are drawn
const STYLE = { fontFamily: 'ui-monospace, SFMono-Regular, Menlo, Consolas, monospace', fontWeight: '700' };

/** @type {Map<string, import('pixi.js').Texture>} letters in a colour, drawn once for all the places they stand at */
const textures = new Map();

/** @param {string} letter @param {string} fill @param {number} perBase */
function textureOf(letter, fill, perBase) {
  const fontSize = Math.min(13, Math.floor(perBase * 1.65)); // letters are 0.6 times as wide as high
  const key = letter + fill + fontSize;
  if (!textures.has(key)) {
    const text = new Text(letter, { ...STYLE, fontSize, fill });
    text.resolution = Math.min(window.devicePixelRatio || 1, 2); // that of HiGlass's canvas
    text.updateText(false);
    textures.set(key, text.texture);
  }
  return textures.get(key);
}

/** A letter without room around it, to be drawn at any height. @param {string} letter @param {string} fill */
function glyphOf(letter, fill) {
  const key = letter + fill;
  if (!textures.has(key)) {
    const text = new Text(letter, { ...STYLE, fontFamily: 'Arial, Helvetica, sans-serif', fontSize: 48, fill, trim: true });
    text.updateText(false);
    textures.set(key, text.texture);
  }
  return textures.get(key);
}

/** @param {any} HGC what HiGlass gives its plug-ins @param {any} context @param {any} options */
function SequenceTrack(HGC, context, options) {
  class Track extends HGC.tracks.HorizontalTiled1DPixiTrack {
    constructor() {
      super(context, options);
      this.bars = new Graphics();
      this.letters = new Container();
      this.pMain.addChild(this.bars, this.letters);
    }

    /** Only at one base a bin is there a sequence to draw. */
    calculateZoomLevel() {
      return this.tilesetInfo.resolutions.length - 1;
    }

    calculateVisibleTiles() {
      if (this.perBase() >= 1) super.calculateVisibleTiles();
      else this.setVisibleTiles([]);
    }

    perBase() {
      return this._xScale(1) - this._xScale(0);
    }

    // All tiles are drawn together, as few of their bases are in view.
    initTile() {}

    destroyTile() {}

    draw() {
      super.draw();
      if (!this.letters) return;
      this.bars.clear();
      this.letters.removeChildren();
      for (const layer of [this.bars, this.letters]) layer.position.set(...this.position);
      const perBase = this.perBase();
      if (!this.tilesetInfo || perBase < 1) return;
      for (const { row, place, value } of this.bases()) {
        if (this.options.tallest) this.drawHeight(row, place, value, perBase);
        else if (perBase < LETTER_WIDTH) this.drawBar(row, this._xScale(place), perBase);
        else this.drawLetter(row, this._xScale(place + 0.5), perBase);
      }
    }

    /** The bases in view: their rows, and their places on the axis. */
    * bases() {
      const [from, to] = this._xScale.domain();
      const size = this.tilesetInfo.tile_size;
      const isBase = this.options.tallest ? (/** @type {number} */ value) => value !== 0 && !Number.isNaN(value) : (/** @type {number} */ value) => value > 0;
      for (const { tileData: { dense, tilePos: [x] } } of this.visibleAndFetchedTiles()) {
        if (!dense) continue; // an error
        const last = Math.min(size, Math.ceil(to) - x * size);
        for (let bin = Math.max(0, Math.floor(from) - x * size); bin < last; bin += 1) {
          const row = this.rows().findIndex((_, each) => isBase(dense[each * size + bin]));
          if (row >= 0) yield { row, place: x * size + bin, value: dense[row * size + bin] };
        }
      }
    }

    /** @returns {string[]} */
    rows() {
      return this.options.letters ? [...this.options.letters] : LETTERS;
    }

    drawHeight(row, place, value, perBase) {
      const { tallest, deepest } = this.options;
      const perUnit = this.dimensions[1] / (tallest + deepest);
      const zero = tallest * perUnit;
      const height = Math.min(Math.abs(value), value > 0 ? tallest : deepest) * perUnit;
      const colour = this.options.colorScale[row];
      if (perBase < LETTER_WIDTH || height < 3) {
        this.bars.beginFill(HGC.utils.colorToHex(colour));
        this.bars.drawRect(this._xScale(place) + perBase * 0.1, value > 0 ? zero - height : zero, perBase * 0.8, height);
        return;
      }
      const sprite = new Sprite(glyphOf(this.rows()[row], colour));
      sprite.position.set(this._xScale(place) + perBase * 0.06, value > 0 ? zero - height : zero);
      [sprite.width, sprite.height] = [perBase * 0.88, height];
      this.letters.addChild(sprite);
    }

    drawBar(row, x, width) {
      this.bars.beginFill(HGC.utils.colorToHex(this.options.colorScale[row]));
      this.bars.drawRect(x, 2, width, this.dimensions[1] - 4);
    }

    drawLetter(row, x, perBase) {
      const sprite = new Sprite(textureOf(LETTERS[row], this.options.colorScale[row], perBase));
      sprite.anchor.set(0.5);
      sprite.position.set(x, this.dimensions[1] / 2);
      this.letters.addChild(sprite);
    }

    zoomed(...scales) {
      super.zoomed(...scales);
      this.draw();
    }

    setPosition(position) {
      super.setPosition(position);
      this.draw();
    }
  }
  return new Track();
}

/** As HiGlass registers it. */
export const sequenceTrack = {
  track: SequenceTrack,
  config: {
    type: 'horizontal-sequence', datatype: ['multivec'], orientation: '1d-horizontal', local: false, name: 'Sequence',
    availableOptions: ['colorScale', 'letters', 'tallest', 'deepest'],
    defaultOptions: { colorScale: ['#1a7f37', '#c5221f', '#a86200', '#2563a8', '#9aa1a9', '#9aa1a9'] },
  },
};
