import { defineConfig } from 'vite';

/** The coordinator answers signalling and shards to pages of its own origin, so both come through this page's server. */
const target = process.env.SHOAL_URL ?? 'http://127.0.0.1:8787';
const proxy = { '/socket.io': { target, ws: true }, '/shards': { target } };

export default defineConfig({ root: import.meta.dirname, server: { proxy }, preview: { proxy } });
