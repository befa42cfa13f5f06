import { afterEach } from 'vitest';
import type { HttpDeps } from '../../coordinator/src/http/index.ts';
import type { FakeGenerationOptions } from '../../coordinator/src/http/testing/fake-generation.ts';
import { startServer, type TestServer } from '../../coordinator/src/http/testing/harness.ts';

/** The HTTP server of the test that is running, whose answers are two letters by default; closed after it. */
export let server: TestServer;
afterEach(() => server.app.close());

const LETTERS: FakeGenerationOptions = { script: () => ({ ids: [97, 98] }) };

/** Starts the server and returns what fetches its paths. */
export async function start(deps: Partial<HttpDeps> = {}, options = LETTERS) {
  server = await startServer(options, deps);
  return (path: string, init?: RequestInit) => fetch(server.url + path, init);
}

/** A request for a completion. */
export const json = (body: object): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'fake-model', prompt: 'A', ...body }),
});
