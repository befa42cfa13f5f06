import { signal } from '@preact/signals';
import { apiKey } from '../playground/api-key.ts';
import type { Language } from '../playground/snippets/snippet.ts';
import { type ApiDocument, type Operation, type RawDocument, readDocument } from './document.ts';

const DEADLINE_MS = 10_000;
/** Of an answer; more would make the page slow. */
const MAX_SHOWN_CHARS = 200_000;

export const loaded = signal<{ document: ApiDocument | null; error: string | null }>({ document: null, error: null });
/** The language of the examples, the same everywhere. */
export const language = signal<Language>('curl');
/** Kept only while the page is open. */
export const adminToken = signal('');

/** Where the API is, without a slash at its end; behind a proxy it may have a path. */
export const baseUrl = (): string => new URL('./', document.baseURI).href.replace(/\/$/, '');

export async function loadDocument(): Promise<void> {
  try {
    const response = await fetch(`${baseUrl()}/openapi.json`, { signal: AbortSignal.timeout(DEADLINE_MS) });
    if (!response.ok) throw new Error(`it answered with HTTP ${response.status}.`);
    loaded.value = { document: readDocument((await response.json()) as RawDocument), error: null };
  } catch (error) {
    const why = error instanceof TypeError ? 'it cannot be reached.' : (error as Error).message;
    loaded.value = { document: null, error: `Couldn’t ask the coordinator what its API is: ${why}` };
  }
}

/** The address of a request: parameters of its path filled in, or left as they are; those of its query where they have a value. */
export function urlOf({ path, parameters }: Operation, values: Readonly<Record<string, string>>): string {
  const query = new URLSearchParams();
  let filled = path;
  for (const { name, in: place, example } of parameters) {
    const value = (values[name] ?? '').trim() || (place === 'path' ? example : '');
    if (value === '') continue;
    if (place === 'path') filled = filled.replace(`{${name}}`, encodeURIComponent(value));
    else query.set(name, value);
  }
  const text = query.toString();
  return baseUrl() + filled + (text === '' ? '' : `?${text}`);
}

/** Whether its good answer is bytes. */
export const isBinary = ({ answers }: Operation): boolean =>
  answers.some(({ types }) => types.includes('application/octet-stream'));

export interface Trial {
  state: 'running' | 'done' | 'failed' | 'stopped';
  /** In words: status, time. */
  note: string;
  text: string;
}

/** Sends a request and shows its answer while it comes. Never rejects. */
export async function send(
  operation: Operation,
  url: string,
  body: string | undefined,
  show: (trial: Trial) => void,
  stop: AbortSignal,
): Promise<void> {
  const startedMs = performance.now();
  let text = '';
  let note = 'Waiting for the answer…';
  const tell = (state: Trial['state']): void => show({ state, note, text });
  tell('running');
  try {
    const headers = { ...secretOf(operation), ...(body !== undefined && { 'Content-Type': 'application/json' }) };
    const response = await fetch(url, {
      method: operation.method,
      headers,
      signal: stop,
      ...(body !== undefined && { body }),
    });
    note = `${response.status} ${response.statusText}`.trim();
    const type = response.headers.get('content-type') ?? '';
    if (/octet-stream/.test(type)) text = `${(await response.arrayBuffer()).byteLength} bytes`;
    else
      for await (const part of textOf(response)) {
        text = (text + part).slice(0, MAX_SHOWN_CHARS);
        tell('running');
      }
    if (type.includes('json')) text = pretty(text);
    note += ` after ${Math.round(performance.now() - startedMs)} ms`;
    tell(response.ok ? 'done' : 'failed');
  } catch (error) {
    if (stop.aborted) note = 'Stopped.';
    else note = error instanceof TypeError ? 'The coordinator cannot be reached.' : (error as Error).message;
    tell(stop.aborted ? 'stopped' : 'failed');
  }
}

function secretOf({ lock }: Operation): Record<string, string> {
  const secret = lock === 'open' ? '' : lock === 'key' ? apiKey.value : adminToken.value;
  return secret === '' ? {} : { Authorization: `Bearer ${secret}` };
}

async function* textOf(response: Response): AsyncGenerator<string> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
