import { defineConfig } from 'vite';

/** In development the pages come from Vite and everything else from a coordinator on its default port. */
const coordinator = 'http://127.0.0.1:8787';

export default defineConfig({
  root: import.meta.dirname,
  base: '/',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: 'dist',
    // The donor page is served at `/` with its assets in `/assets/`; ours must not collide with them.
    assetsDir: 'console-assets',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/v1': coordinator, '/socket.io': { target: coordinator, ws: true } } },
});
