import { signal } from '@preact/signals';
import { authorization, noteStatus } from '../api-key.ts';
import { type Fault, inWords, readRefusal } from '../chunk.ts';
import { focusSoon, makeForm } from '../form.ts';
import { loadModel } from '../model.ts';
import { type EmbedBody, type Embeddings, readEmbeddings } from './similarity.ts';

/** As long as the coordinator may take for a request. */
const DEADLINE_MS = 600_000;

export const fieldNames = ['text1', 'text2', 'text3'] as const;
export type FieldName = (typeof fieldNames)[number];

export const form = makeForm<FieldName>('shoal-embed-form', {
  text1: 'Mia found a small bird in the snow and carried it home in her scarf.',
  text2: 'The bird got well by the warm stove, and Mia let it fly.',
  text3: 'Tom and his robot Beep won the race around the pond.',
});

/** The last comparison. */
export interface Comparison {
  state: 'running' | 'finished' | 'failed' | 'stopped';
  /** The fields that had a text, in the order of the embeddings. */
  fields: FieldName[];
  result: Embeddings | null;
  tookMs: number | null;
  error: string | null;
}

export const comparison = signal<Comparison | null>(null);
let stopping: AbortController | undefined;

export function stop(): void {
  stopping?.abort();
}

/** The fields that have a text. */
export function filled(): FieldName[] {
  return fieldNames.filter((name) => form.values.value[name].trim() !== '');
}

export function bodyOf(model: string): EmbedBody {
  return { model, input: filled().map((name) => form.values.value[name]) };
}

/** Embeds the texts of the form; keeps `comparison` up to date, errors included. */
export async function compare(): Promise<void> {
  const fields = filled();
  if (fields.length < 2) {
    const missing = fieldNames.find((name) => !fields.includes(name))!;
    form.faults.value = { [missing]: 'Enter at least two texts.' };
    return focusSoon(`field-${missing}`);
  }
  form.faults.value = {};
  const facts = await loadModel();
  if (!facts) return;
  stop();
  const own = (stopping = new AbortController());
  const begun: Comparison = { state: 'running', fields, result: null, tookMs: null, error: null };
  const show = (change: Partial<Comparison>): void => {
    if (stopping === own) comparison.value = { ...begun, ...change };
  };
  show({});
  const startedMs = performance.now();
  try {
    const result = await embed(bodyOf(facts.id), own.signal);
    show({ state: 'finished', result, tookMs: performance.now() - startedMs });
  } catch (error) {
    if (own.signal.aborted) return show({ state: 'stopped' });
    showFault(fields, error instanceof Refusal ? error.fault : { message: wordsOf(error), param: null }, show);
  }
}

/** At its field where the coordinator names one of the texts, and below the form otherwise. */
function showFault(fields: readonly FieldName[], fault: Fault, show: (change: Partial<Comparison>) => void): void {
  const index = /^input\[(\d+)\]$/.exec(fault.param ?? '')?.[1];
  const field = fields[Number(index)];
  show({ state: 'failed', error: inWords(fault) });
  if (!field) return;
  form.faults.value = { [field]: fault.message };
  focusSoon(`field-${field}`);
}

class Refusal extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

async function embed(body: EmbedBody, signal: AbortSignal): Promise<Embeddings> {
  const response = await fetch('./v1/embeddings', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...authorization() },
    body: JSON.stringify(body),
    signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
  });
  noteStatus(response.status);
  const text = await response.text();
  if (!response.ok) throw new Refusal(readRefusal(response.status, text, response.headers.get('retry-after')));
  const result = readEmbeddings(parsed(text), body.input.length);
  if (result) return result;
  throw new Refusal({ message: 'The server’s answer has no embedding of each text.', param: null });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function wordsOf(error: unknown): string {
  if (error instanceof TypeError) return 'The coordinator cannot be reached.';
  const isLate = error instanceof DOMException && error.name === 'TimeoutError';
  return isLate ? 'The coordinator did not answer in time.' : String(error);
}
