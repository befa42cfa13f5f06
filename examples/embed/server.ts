/**
 * A site under a strict content policy, with an embed of a coordinator on another origin.
 *
 *   node --import tsx examples/embed/server.ts http://127.0.0.1:8787
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

const FILES: Readonly<Record<string, readonly [file: string, type: string]>> = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/site.js': ['site.js', 'text/javascript'],
  '/site.css': ['site.css', 'text/css'],
};

/** Of all this, the embed needs the coordinator's origin in `script-src` and in `frame-src`. */
const policyWith = (coordinator: string): string =>
  [
    "default-src 'none'",
    `script-src 'self' ${coordinator}`,
    `frame-src ${coordinator}`,
    "style-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; ');

/** Serves the site at a port, 0 for a free one. */
export async function serveSite(coordinator: string, port: number): Promise<{ server: Server; url: string }> {
  const { origin } = new URL(coordinator);
  const server = createServer(async ({ url = '/' }, response) => {
    const found = FILES[new URL(url, 'http://site').pathname];
    if (!found) return response.writeHead(404).end();
    const text = await readFile(join(import.meta.dirname, found[0]), 'utf8');
    response.writeHead(200, { 'content-type': found[1], 'content-security-policy': policyWith(origin) });
    return response.end(text.replaceAll('COORDINATOR', origin));
  });
  await once(server.listen(port, 'localhost'), 'listening');
  return { server, url: `http://localhost:${(server.address() as AddressInfo).port}/` };
}

if (process.argv[1] === import.meta.filename) {
  const { url } = await serveSite(process.argv[2] ?? 'http://127.0.0.1:8787', 8790);
  console.log(`The site is at ${url}`);
}
