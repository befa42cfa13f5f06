import { afterEach } from 'vitest';
import type { HttpDeps } from '../../coordinator/src/http/deps.ts';
import type { FakeScript } from '../../coordinator/src/http/testing/fake-generation.ts';
import { startServer, type TestServer } from '../../coordinator/src/http/testing/harness.ts';
import { markedConvention } from '../../coordinator/src/http/testing/marked-convention.ts';
import type { GenerationRequest } from '../../coordinator/src/scheduler/generation.ts';

export const says = (text: string) => [...Buffer.from(text)];

/** The HTTP server of the test that is running, over a fake scheduler; closed after it. */
export let server: TestServer;
afterEach(() => server?.app.close());

/** Starts a server that answers with a text, in which `<think>…</think>` and `<call:NAME>{…}</call>` are markup. */
export async function answerWith(
  script: string | ((request: GenerationRequest) => FakeScript),
  deps: Partial<HttpDeps> = {},
  maxContext = 4096,
): Promise<TestServer> {
  const follow = typeof script === 'string' ? () => ({ ids: says(script) }) : script;
  server = await startServer({ script: follow, maxContext }, { convention: markedConvention, ...deps });
  return server;
}

/** The prompts that reached the scheduler, without the token that begins each. */
export function prompts(): string[] {
  return server.generation.submitted.map((request) => Buffer.from(request.promptIds.slice(1)).toString());
}

/** The error of a request that must be rejected. */
export function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => Promise.reject(new Error('the request was answered')),
    (error: unknown) => error,
  );
}

export async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(server.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}
