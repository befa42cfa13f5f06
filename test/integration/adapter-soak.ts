import { join } from 'node:path';
import { type Config, type Coordinator, defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { fixtureDir } from '../golden/families.ts';

const FIXTURES = join(import.meta.dirname, '../golden/fixtures/adapters');
export const TOKEN = 'operator-token';
/** Of the fixture; each changes other matrices. */
export const ADAPTERS = ['attention', 'ffn', 'all'] as const;
export const MODEL = 'qwen2-moe';

export const adapterRoot = join(FIXTURES, MODEL);

/** A coordinator of the fixture's model without tabs, from whose adapters some are loaded at the start. */
export function startWithAdapters(cacheDir: string, overrides: Partial<Config> = {}): Promise<Coordinator> {
  const given = { model: fixtureDir(MODEL), quant: 'f16' as const, cacheDir, adapterRoot, adminToken: TOKEN };
  const quiet = { port: 0, drainTimeoutMs: 1000, logLevel: 'silent' as const };
  return startCoordinator(defaultConfig({ ...given, ...quiet, ...overrides }));
}

export function post(url: string, path: string, body: object, token?: string): Promise<Response> {
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
  return fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
}

export interface Completion {
  model: string;
  choices: { token_ids: number[]; logprobs: { token_logprobs: number[] } }[];
}

/** Asks for greedy tokens after some ids. Throws with the status and the body if it fails. */
export async function complete(url: string, model: string, prompt: readonly number[], tokens: number) {
  const body = {
    model,
    prompt,
    max_tokens: tokens,
    temperature: 0,
    ignore_eos: true,
    logprobs: 0,
    return_token_ids: true,
  };
  const response = await post(url, '/v1/completions', body);
  const text = await response.text();
  if (response.status !== 200) throw new Error(`${response.status}: ${text}`);
  return JSON.parse(text) as Completion;
}

export interface Soak {
  url: string;
  /** Loaded adapters, each of which some streams use all the time; the first streams use none. */
  models: readonly string[];
  streams: number;
  /** How often an adapter is loaded, asked and unloaded while its answer is under way. */
  loads: number;
  prompt: readonly number[];
  /** The adapters that are loaded, in turn. */
  churned?: readonly string[];
  /**
   * Whether the same tokens count as the same answer. Where rows move between tabs and the coordinator, the last bits of
   * log-probabilities may be others.
   */
  idsAlone?: boolean;
  onLoad?: (loads: number) => void;
}

/**
 * Loads and unloads adapters under running streams. Resolves with the number of answers, and of those that failed or are not what
 * their model has answered before.
 */
export async function soak({ url, models, streams, loads, prompt, churned = ADAPTERS, idsAlone, onLoad }: Soak) {
  const counts = { answers: 0, failed: 0, changed: 0 };
  const expected = new Map<string, string>();
  const ask = async (model: string, key = model): Promise<void> => {
    try {
      const [choice] = (await complete(url, model, prompt, 12)).choices;
      const answer = JSON.stringify(idsAlone ? choice!.token_ids : choice);
      if (expected.get(key) !== undefined && expected.get(key) !== answer) counts.changed++;
      expected.set(key, answer);
    } catch {
      counts.failed++;
    }
    counts.answers++;
  };
  for (const model of models) await ask(model);
  const progress = { isOver: false };
  const running = Array.from({ length: streams }, async (_, i) => {
    while (!progress.isOver) await ask(models[i % models.length]!);
  });
  for (let load = 0; load < loads; load++) {
    const path = churned[load % churned.length]!;
    const loaded = await post(url, '/v1/load_lora_adapter', { lora_name: 'churned', lora_path: path }, TOKEN);
    if (loaded.status !== 200) throw new Error(await loaded.text());
    const body = { model: 'churned', prompt, max_tokens: 12, temperature: 0, ignore_eos: true, stream: true };
    const stream = await post(url, '/v1/completions', { ...body, logprobs: 0, return_token_ids: true }, undefined);
    const unloaded = await post(url, '/v1/unload_lora_adapter', { lora_name: 'churned' }, TOKEN);
    if (stream.status !== 200 || unloaded.status !== 200) counts.failed++;
    const what = idsAlone ? /"token_ids":\[([^\]]*)\]/g : /"token_logprobs":\[([^\]]*)\]/g;
    const tokens = [...(await stream.text()).matchAll(what)].map(([, values]) => values);
    const answer = JSON.stringify(tokens);
    if (tokens.length === 0 || (expected.get(`churned ${path}`) ?? answer) !== answer) counts.changed++;
    expected.set(`churned ${path}`, answer);
    counts.answers++;
    onLoad?.(load + 1);
  }
  progress.isOver = true;
  await Promise.all(running);
  return counts;
}
