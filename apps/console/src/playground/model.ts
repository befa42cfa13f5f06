import { computed, signal } from '@preact/signals';
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
  /** What requests may name beside it: its adapters, and `auto`, which chooses one of them. */
  others: { id: string; description: string }[];
  /** Values of an embedding; null of a model that makes text. */
  dimensions: number | null;
}

export const model = signal<{ facts: ModelFacts | null; error: string | null }>({ facts: null, error: null });

const picked = signal('');

/** The name that requests have: the picked one as long as it is listed, or else the served model's. */
export const askedModel = computed(() => {
  const { facts } = model.value;
  const isListed = facts?.others.some(({ id }) => id === picked.value);
  return isListed ? picked.value : (facts?.id ?? '');
});

export function pickModel(id: string): void {
  picked.value = id;
}

let loads = 0;

/** Asks for the served model unless it is known; keeps `model` up to date, including errors. */
export async function loadModel({ again = false } = {}): Promise<ModelFacts | null> {
  if (model.value.facts && !again) return model.value.facts;
  const load = ++loads;
  const loaded = await tryToFetchModel();
  // An answer to an earlier key may come after that to the present one.
  if (load === loads) model.value = loaded;
  return model.value.facts;
}

async function tryToFetchModel(): Promise<typeof model.value> {
  try {
    return { facts: await fetchModel(), error: null };
  } catch (error) {
    const why = error instanceof TypeError ? 'the coordinator cannot be reached.' : (error as Error).message;
    return { facts: null, error: `Couldn’t find out which model is served: ${why}` };
  }
}

/** Returns the first model that the coordinator serves; throws an error with a message for the user. */
async function fetchModel(): Promise<ModelFacts> {
  const response = await fetch('./v1/models', { headers: authorization(), signal: AbortSignal.timeout(DEADLINE_MS) });
  noteStatus(response.status);
  const body = await response.text();
  if (!response.ok) throw new Error(inWords(readRefusal(response.status, body, null)));
  const entries = list(fields(JSON.parse(body))['data']).map(fields);
  const entry = entries[0] ?? {};
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
    others: othersOf(entries),
    dimensions: typeof dimensions === 'number' ? dimensions : null,
  };
}

/** Adapters have a parent. Other names of the model itself are left out. */
function othersOf(entries: readonly Record<string, unknown>[]): ModelFacts['others'] {
  const adapters = entries.filter((entry) => text(entry['parent']) !== '');
  const auto = entries.slice(1).filter((entry) => adapters.length > 0 && entry['id'] === 'auto');
  return [...auto, ...adapters].map((entry) => {
    return { id: text(entry['id']), description: text(fields(entry['shoal'])['description']) };
  });
}
