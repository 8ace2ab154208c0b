import { defineConfig } from 'vite';

/**
 * What the page needs otherwise in HiGlass 2.3.5, as [found there, in its place]. The build fails when a text is no
 * longer found, so that an update of HiGlass has to look at each again.
 */
const IN_HIGLASS = [
  // Lines keep 6 px free above and below, bars none: over each other they would not stand on the same zero.
  ['        margin = 6;\n', '        margin = 0;\n'],
  // Genes are drawn at 30 % of the colour that is asked for, too faint to read on either theme.
  ['const GENE_ALPHA = 0.3;', 'const GENE_ALPHA = 0.85;'],
  // It writes its version to the console, through a worker.
  ['  if (isInit) return;\n  const [o, x] = getXylofon();', '  if (isInit || true) return;\n  const [o, x] = getXylofon();'],
  // pixi 6 warns about the old name of the first of these on every page; and four pixels drawn for each one shown are
  // more than a laptop without a graphics card can do.
  [
    '        transparent: true,\n        resolution: 2,',
    '        backgroundAlpha: 0,\n        resolution: Math.min(window.devicePixelRatio || 1, 2),',
  ],
];

const higlass = {
  name: 'higlass-as-needed',
  transform(/** @type {string} */ code, /** @type {string} */ id) {
    if (!id.endsWith('/higlass/dist/higlass.mjs')) return null;
    return IN_HIGLASS.reduce((text, [found, instead]) => {
      if (text.split(found).length !== 2) throw new Error(`HiGlass has changed: expected once: ${found.trim()}`);
      return text.replace(found, instead);
    }, code);
  },
};

// The server answers pages at several paths (/, /v/<id>, /embed/<id>) and assets at one: hence an absolute base.
export default defineConfig({
  base: '/static/',
  plugins: [higlass],
  build: {
    outDir: '../trackserver/web/static',
    emptyOutDir: true,
    target: 'es2022', // HiGlass needs top-level await
    chunkSizeWarningLimit: 4000, // HiGlass, React and pixi are one library to the page
  },
});
