import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Config, type Coordinator, defaultConfig } from '../../coordinator/src/index.ts';
import { wholeSentences } from './sentences.ts';

const SHIPPED = join(import.meta.dirname, '../../models/adapters');
/** Enough to tell a style, and soon written. */
const TOKENS = 40;
/** Beginnings for which the coordinator chooses. */
const PROMPTS = [
  'Dear Grandma, how',
  'The captain of the pirate ship',
  'The little frog sat in the sun',
  'Ben wanted to bake',
];

export interface Styles {
  /** The same beginning under the model and each of its adapters. */
  styles: { model: string; text: string }[];
  /** What was chosen for requests of the model "auto". */
  auto: { prompt: string; model: string; similarity: number; text: string }[];
}

/** With the adapters of models/adapters where the default model is served, unless the person has named others. */
export function withShippedAdapters(config: Config): Config {
  const isDefault = resolve(config.model) === resolve(defaultConfig().model);
  if (!isDefault || config.adapters.size > 0 || !existsSync(SHIPPED)) return config;
  const names = readdirSync(SHIPPED).filter((name) => existsSync(join(SHIPPED, name, 'adapter_config.json')));
  return { ...config, adapters: new Map(names.map((name) => [name, join(SHIPPED, name)])) };
}

interface StyleRequest {
  prompt: string;
  seed: number;
  temperature: number;
}

/** What each adapter makes of the beginning; nothing where there is none. */
export async function writeStyles(
  { url, adapters, scheduler }: Coordinator,
  { prompt, seed, temperature }: StyleRequest,
  signal: AbortSignal,
): Promise<Styles> {
  if (adapters.all.length === 0) return { styles: [], auto: [] };
  const ask = (model: string, beginning: string) =>
    complete(url, { model, prompt: beginning, seed, temperature, max_tokens: TOKENS }, signal);
  const models = [scheduler.modelId, ...adapters.all.map(({ name }) => name)];
  const styles = await Promise.all(models.map(async (model) => ({ model, text: (await ask(model, prompt)).text })));
  const auto = await Promise.all(PROMPTS.map(async (one) => ({ prompt: one, ...(await ask('auto', one)) })));
  return { styles, auto };
}

async function complete(url: string, body: object, signal: AbortSignal) {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    signal,
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`The API answered ${response.status}: ${await response.text()}`);
  const { model, choices } = (await response.json()) as { model: string; choices: { text: string }[] };
  return {
    model,
    similarity: Number(response.headers.get('x-shoal-similarity')),
    text: wholeSentences(choices[0]!.text),
  };
}

export function printStyles({ styles, auto }: Styles, prompt: string, out: { write(text: string): unknown }): void {
  if (styles.length === 0) return;
  const width = Math.max(...styles.map(({ model }) => model.length));
  out.write('The same beginning under each adapter:\n');
  for (const { model, text } of styles) out.write(`  ${model.padEnd(width)}  ${oneLine(prompt + text)}\n`);
  out.write('\nWhat model "auto" chooses:\n');
  for (const { prompt, model, similarity, text } of auto) {
    out.write(`  ${model.padEnd(width)}  (similarity ${similarity.toFixed(2)}) ${prompt}${oneLine(text)}\n`);
  }
  out.write('\n');
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, ' / ');
