import { signal } from '@preact/signals';
import { authorization, noteStatus } from './api-key.ts';
import { fields, inWords, list, readRefusal, text } from './chunk.ts';

const DEADLINE_MS = 10_000;

/** What the coordinator says of the model that it serves. */
export interface ModelFacts {
  id: string;
  contextTokens: number | null;
  /** How the model writes tool calls and reasoning. */
  convention: string;
  tools: 'template' | 'described' | null;
  reasons: boolean;
  /** Values of an embedding; null of a model that makes text. */
  dimensions: number | null;
}

export const model = signal<{ facts: ModelFacts | null; error: string | null }>({ facts: null, error: null });

/** Asks for the served model unless it is known; keeps `model` up to date, including errors. */
export async function loadModel({ again = false } = {}): Promise<ModelFacts | null> {
  if (model.value.facts && !again) return model.value.facts;
  try {
    model.value = { facts: await fetchModel(), error: null };
  } catch (error) {
    const why = error instanceof TypeError ? 'the coordinator cannot be reached.' : (error as Error).message;
    model.value = { facts: null, error: `Couldn’t find out which model is served: ${why}` };
  }
  return model.value.facts;
}

/** Returns the first model that the coordinator serves; throws an error with a message for the user. */
async function fetchModel(): Promise<ModelFacts> {
  const response = await fetch('/v1/models', { headers: authorization(), signal: AbortSignal.timeout(DEADLINE_MS) });
  noteStatus(response.status);
  const body = await response.text();
  if (!response.ok) throw new Error(inWords(readRefusal(response.status, body, null)));
  const entry = fields(list(fields(JSON.parse(body))['data'])[0]);
  const id = text(entry['id']);
  if (id === '') throw new Error('The coordinator lists no model at /v1/models.');
  const { convention, tools, reasoning, dimensions } = fields(entry['shoal']);
  const context = entry['max_model_len'];
  return {
    id,
    contextTokens: typeof context === 'number' ? context : null,
    convention: text(convention),
    tools: tools === 'template' || tools === 'described' ? tools : null,
    reasons: reasoning === true,
    dimensions: typeof dimensions === 'number' ? dimensions : null,
  };
}
