import { defineConfig } from 'vite';

/** Signalling and shards come through this page's own server, so that for the browser the coordinator has the same origin. */
const target = process.env.SHOAL_URL ?? 'http://127.0.0.1:8787';
const proxy = { '/socket.io': { target, ws: true }, '/shards': { target } };

export default defineConfig({ root: import.meta.dirname, server: { proxy }, preview: { proxy } });
