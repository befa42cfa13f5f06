import type { Result } from '../adapter-words.ts';
import { signedInToken } from '../connection.ts';

const DEADLINE_MS = 15_000;

/** What the coordinator said of a request; the message is for the operator. */
export class Refused extends Error {}

/** What went wrong, for the operator. */
export const wordsOf = (error: unknown): string => (error instanceof Refused ? error.message : String(error));

/** Runs a command that returns what is told of it. */
export async function attempt(command: () => Promise<string>): Promise<Result> {
  try {
    return { ok: true, text: await command() };
  } catch (error) {
    return { ok: false, text: wordsOf(error) };
  }
}

/** Asks the coordinator under /admin, as the one who is signed in. Rejects with a Refused. */
export async function askAdmin<Answer>(method: string, path: string, body?: object): Promise<Answer> {
  return (await (await request(method, path, body)).json()) as Answer;
}

/** The same for an answer that is a file's text. */
export async function askAdminText(path: string): Promise<string> {
  return (await request('GET', path)).text();
}

async function request(method: string, path: string, body?: object): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`./admin/${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${signedInToken() ?? ''}`,
        ...(body && { 'Content-Type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  } catch (error) {
    const isLate = (error as Error).name === 'TimeoutError';
    throw new Refused(isLate ? 'The coordinator did not answer in time.' : 'The coordinator cannot be reached.');
  }
  if (response.ok) return response;
  const refusal = (await response.json().catch(() => undefined)) as { error?: { message?: string } } | undefined;
  throw new Refused(refusal?.error?.message ?? `The coordinator answered with status ${response.status}.`);
}
