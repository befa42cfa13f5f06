import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { CACHE_DIR, TINY_STORIES } from '../integration/golden.ts';

/**
 * Program: a coordinator for other people's clients, which writes its URL to stdout and ends when stdin does.
 *
 * With the argument "encoder" it serves one, and otherwise the default model with a longer context than it was trained for. Beyond 512 tokens the model writes no story that
 * makes sense; clients ask how it answers and in what form, which grammars see to.
 */

/** Frameworks put instructions, schemas and examples before what a user says: up to 3,000 of the default model's tokens. */
const CONTEXT_TOKENS = 8192;
/** Programs that decide by a model's name what to send, such as dspy, know this one. */
const ALIAS = 'gpt-4o';
const ENCODER = join(TINY_STORIES, '../stories-expert-choice');

async function withLongContext(): Promise<string> {
  const dir = join(CACHE_DIR, '../clients/tiny-stories');
  await mkdir(dir, { recursive: true });
  for (const file of ['model.safetensors', 'tokenizer.json', 'tokenizer_config.json', 'generation_config.json'])
    await copyFile(join(TINY_STORIES, file), join(dir, file));
  const config = JSON.parse(await readFile(join(TINY_STORIES, 'config.json'), 'utf8')) as object;
  await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: CONTEXT_TOKENS }));
  return dir;
}

const coordinator = await startCoordinator(
  defaultConfig({
    ...(process.argv[2] === 'encoder' ? { model: ENCODER } : { model: await withLongContext(), modelAliases: [ALIAS] }),
    quant: 'f16',
    cacheDir: CACHE_DIR,
    port: 0,
    logLevel: 'warn',
  }),
);
process.stdout.write(`${coordinator.url}\n`);
process.stdin.on('end', () => void coordinator.close().then(() => process.exit())).resume();
