import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import type { HttpDeps } from '../deps.ts';
import { buildHttpServer } from '../server.ts';
import { byteCodec } from './byte-codec.ts';
import { FakeGeneration, type FakeGenerationOptions } from './fake-generation.ts';
import { plainConvention } from './plain-convention.ts';

/** A listening server on a free port over a scripted generation service, with all that it logged. */
export async function startServer(options: FakeGenerationOptions, deps: Partial<HttpDeps> = {}) {
  const generation = new FakeGeneration(options);
  const registry = new Registry();
  const logged: string[] = [];
  const log = pino({ level: 'trace' }, { write: (line: string) => logged.push(line) });
  const app = await buildHttpServer({
    generation,
    codec: byteCodec(),
    grammars: { compile: () => Promise.reject(new Error('this server compiles no grammars')) },
    convention: plainConvention,
    templateTraits: undefined,
    aliases: [],
    log,
    registry,
    defaults: { temperature: 0.7, topP: 0.9 },
    shard: () => undefined,
    readiness: () => ({ ready: true, detail: { tabs: 0, uncoveredExperts: 0 } }),
    staticRoots: {},
    ...deps,
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  const { port } = app.server.address() as AddressInfo;
  return { app, generation, registry, logged, port, url: `http://127.0.0.1:${port}` };
}

export type TestServer = Awaited<ReturnType<typeof startServer>>;

/** Waits for a state that follows from sockets closing; the test's own timeout is the deadline. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
