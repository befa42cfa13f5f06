import { existsSync } from 'node:fs';
import { join } from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';
import type { HttpDeps } from './deps.ts';

/** Files that Vite names by their content. */
const HASHED_ASSET = /[/\\](?:[\w]+-)?assets[/\\]/;
const ASSET_MAX_AGE_S = 31_536_000;

/**
 * Serves the donor page at `/` and the console at `/console`, `/playground` and `/lab`. Both builds refer to their files from `/`, in
 * folders of different names, so files are looked for in both.
 */
export async function registerPages(app: FastifyInstance, roots: HttpDeps['staticRoots']): Promise<void> {
  const built = [roots.donor, roots.console].filter(
    (root): root is string => root !== undefined && existsSync(join(root, 'index.html')),
  );
  if (built.length === 0) return;
  await app.register(fastifyStatic, {
    root: built,
    prefix: '/',
    index: false,
    dotfiles: 'deny',
    cacheControl: false,
    setHeaders: (response, path) => {
      const immutable = HASHED_ASSET.test(path);
      response.setHeader('cache-control', immutable ? `public, max-age=${ASSET_MAX_AGE_S}, immutable` : 'no-cache');
    },
  });
  const page = (url: string, root: string) => app.get(url, (_request, reply) => reply.sendFile('index.html', root));

  const { donor, console: consoleRoot } = roots;
  if (donor !== undefined && built.includes(donor)) page('/', donor);
  if (consoleRoot !== undefined && built.includes(consoleRoot)) {
    for (const url of ['/console', '/console/*', '/playground', '/playground/*', '/lab', '/lab/*'])
      page(url, consoleRoot);
  }
}
