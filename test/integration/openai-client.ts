import OpenAI, { APIError } from 'openai';
import { afterEach } from 'vitest';
import type { HttpDeps } from '../../coordinator/src/http/index.ts';
import type { FakeScript } from '../../coordinator/src/http/testing/fake-generation.ts';
import { startServer, type TestServer } from '../../coordinator/src/http/testing/harness.ts';
import type { GenerationRequest } from '../../coordinator/src/scheduler/generation.ts';

export const model = 'fake-model';
export const says = (text: string) => [...Buffer.from(text)];

/** The HTTP server of the test that is running, over a fake scheduler; closed after it. */
export let server: TestServer;
afterEach(() => server.app.close());

/** Starts the server and returns its official client. */
export async function start(
  script: string | ((request: GenerationRequest) => FakeScript),
  maxContext = 4096,
  deps: Partial<HttpDeps> = {},
) {
  const follow = typeof script === 'string' ? () => ({ ids: says(script) }) : script;
  server = await startServer({ script: follow, maxContext }, deps);
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
}

/** What tests read of an answer's JSON. */
interface AnswerJson {
  model?: string;
  choices: {
    index: number;
    text?: string;
    message?: { content: string | null };
    logprobs: unknown;
    prompt_logprobs?: unknown[];
  }[];
  usage: { completion_tokens: number };
  error?: { code: string | null; param: string | null; message: string };
}

/** The JSON of an answer to a body that the client's types don't have, and its headers. */
export async function post(
  path: string,
  body: unknown,
): Promise<{ status: number; headers: Headers; json: AnswerJson }> {
  const response = await fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, json: (await response.json()) as AnswerJson };
}

/** The prompts that reached the scheduler, without the token that begins each. */
export function prompts(): string[] {
  return server.generation.submitted.map((request) => Buffer.from(request.promptIds.slice(1)).toString());
}

/** The error of a request that must be rejected. */
export async function failure(promise: Promise<unknown>): Promise<APIError> {
  const outcome = await promise.then(
    () => new Error('the request was answered'),
    (error: unknown) => error,
  );
  if (!(outcome instanceof APIError)) throw outcome;
  return outcome;
}
