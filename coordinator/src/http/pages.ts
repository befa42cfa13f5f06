import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { registerEmbed } from './embed.ts';

/** Files that Vite names by their content. */
const HASHED_ASSET = /[/\\](?:[\w]+-)?assets[/\\]/;
const ASSET_MAX_AGE_S = 31_536_000;

/**
 * Serves the donor page at `/` and the console at `/console`, `/playground`, `/lab` and `/docs`. Both builds have their files in
 * folders of different names beside their pages, so files are looked for in both.
 */
export async function registerPages(
  app: FastifyInstance,
  roots: HttpDeps['staticRoots'],
  { offersTabToTab = false, embedSites = () => '*' }: Pick<HttpDeps, 'offersTabToTab' | 'embedSites'> = {},
): Promise<void> {
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
  if (donor !== undefined && built.includes(donor)) {
    if (offersTabToTab) app.get('/', (_request, reply) => sendOffer(reply, donor));
    else page('/', donor);
    registerEmbed(app, donor, embedSites);
  }
  if (consoleRoot !== undefined && built.includes(consoleRoot)) {
    for (const url of ['/console', '/playground', '/lab', '/docs', '/swarm']) {
      page(url, consoleRoot);
      // The pages name their files relative to themselves. So does this, since a proxy may have removed a prefix of the path.
      app.get<{ Params: { '*': string } }>(`${url}/*`, ({ params }, reply) =>
        reply.redirect(`${'../'.repeat(params['*'].split('/').length)}${url.slice(1)}`),
      );
    }
  }
}

/** The donor page, which asks its donor whether to exchange weights with other tabs: it must know before it connects to anything. */
async function sendOffer(reply: FastifyReply, root: string): Promise<FastifyReply> {
  const html = await readFile(join(root, 'index.html'), 'utf8');
  const offer = '<meta name="shoal-offers" content="tab-to-tab" />';
  return reply
    .type('text/html; charset=utf-8')
    .header('cache-control', 'no-cache')
    .send(html.replace('</head>', `${offer}</head>`));
}
