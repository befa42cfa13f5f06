import { open } from 'node:fs/promises';
import {
  answerOf,
  createRng,
  scorePerplexity,
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardResult,
  type SequenceCache,
  type Tokenizer,
} from '@shoal/model';
import { loadGenerationConfig, loadTokenizer } from '@shoal/model/node';
import { openModel } from '@shoal/weights/node';
import { openDenseEngine } from '../dense-engine.ts';
import { limitExperts, readPlacement } from './device-limit.ts';
import { openExperts } from './in-process-experts.ts';
import {
  help,
  parseLocalOptions,
  readText,
  UsageError,
  type LocalCommand,
  type LocalOptions,
  type PromptSource,
} from './in-process-options.ts';

export type { LocalCommand } from './in-process-options.ts';

export interface LocalIo {
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown };
}

const EXIT_OK = 0;
const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** Rows per forward pass while a prompt is read: enough to share each weight, little enough to show progress. */
const CHUNK_ROWS = 64;

/**
 * `shoal generate | perplexity | logits`: the forward in this process, so that anyone can hold our numbers against
 * another implementation. `argv` is what follows the command. Results go to `io.stdout`, progress and errors to `io.stderr`.
 * Resolves to the exit code: 0, 1 when it failed, 2 when the command line is wrong; never rejects.
 */
export async function runLocalCommand(command: LocalCommand, argv: string[], io: LocalIo): Promise<number> {
  try {
    const options = parseLocalOptions(command, argv);
    if (options.help) {
      io.stdout.write(help[command]);
      return EXIT_OK;
    }
    const local = await openLocal(options, io);
    try {
      await commands[command](local, options, io);
    } finally {
      await local.close();
    }
    return EXIT_OK;
  } catch (error) {
    const usage = error instanceof UsageError;
    io.stderr.write(`shoal ${command}: ${error instanceof Error ? error.message : String(error)}\n`);
    if (usage) io.stderr.write(`Try: shoal ${command} --help\n`);
    return usage ? EXIT_USAGE : EXIT_FAILED;
  }
}

const commands: Record<LocalCommand, (local: Local, options: LocalOptions, io: LocalIo) => Promise<void>> = {
  generate: runGenerate,
  perplexity: runPerplexity,
  logits: runLogits,
};

interface Local {
  engine: ForwardEngine;
  tokenizer: Tokenizer;
  experts: ExpertDispatch;
  close(): Promise<void>;
  eosTokenIds: readonly number[];
}

async function openLocal({ model: dir, engine: name, threads }: LocalOptions, io: LocalIo): Promise<Local> {
  const opened = await openModel(dir);
  try {
    const { config, reader, packed } = opened;
    const tokenizer = await loadTokenizer(dir);
    const { eosTokenIds } = await loadGenerationConfig(dir);
    io.stderr.write(`reading ${dir}\n`);
    const engine = await openDenseEngine({ config, engine: name, reader, packedDir: packed?.dir, threads });
    const { experts, close: closeExperts } = await openExperts(opened, name, threads);
    const close = async (): Promise<void> => {
      closeExperts();
      await Promise.all([opened.close(), engine.close()]);
    };
    return { engine, tokenizer, experts, eosTokenIds: eosTokenIds ?? config.eosTokenIds, close };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

/** Token ids of the prompt, checked against vocabulary and context. */
async function promptIds({ engine, tokenizer }: Local, prompt: PromptSource, room: number): Promise<number[]> {
  const { vocabSize, maxPositionEmbeddings } = engine.config;
  const ids =
    prompt.kind === 'ids'
      ? prompt.ids
      : tokenizer.encodePrompt(prompt.kind === 'text' ? prompt.text : await readText(prompt.path));
  const outside = ids.find((id) => id >= vocabSize);
  if (outside !== undefined)
    throw new UsageError(`--ids: ${outside} is outside the vocabulary (0 to ${vocabSize - 1})`);
  if (ids.length === 0)
    throw new UsageError('the prompt is empty, and this model adds no begin-of-text token: give some text');
  if (ids.length + room > maxPositionEmbeddings) {
    throw new Error(
      `the prompt is ${ids.length} tokens long; at most ${maxPositionEmbeddings - room} fit the model's context`,
    );
  }
  return ids;
}

/** Read `ids` in chunks, each row wanting what `wanted` says of its position; calls `onChunk` with each result. */
async function readPrompt(
  { engine, experts }: Local,
  ids: readonly number[],
  cache: SequenceCache,
  wanted: (position: number) => Pick<EngineRow, 'wantLogits' | 'query'>,
  onChunk: (result: ForwardResult, positionsDone: number) => void | Promise<void>,
): Promise<void> {
  for (let start = 0; start < ids.length; start += CHUNK_ROWS) {
    const rows = ids.slice(start, start + CHUNK_ROWS).map((tokenId, i) => {
      return { tokenId, position: start + i, cache, ...wanted(start + i) };
    });
    await onChunk(await engine.forward(rows, experts), start + rows.length);
  }
}

async function runGenerate(local: Local, options: LocalOptions, io: LocalIo): Promise<void> {
  const ids = await promptIds(local, options.prompt!, 1);
  const started = performance.now();
  const answer = await continueText(local, ids, options, io);
  const seconds = (performance.now() - started) / 1000;
  if (options.json) writeJson(io, { prompt_ids: ids, ...answer });
  else io.stdout.write('\n');
  io.stderr.write(
    `${answer.ids.length} tokens in ${seconds.toFixed(2)} s, prompt included (${answer.finish_reason})\n`,
  );
}

interface Answer {
  ids: number[];
  text: string;
  finish_reason: 'stop' | 'length';
}

async function continueText(local: Local, ids: number[], options: LocalOptions, io: LocalIo): Promise<Answer> {
  const { engine, experts } = local;
  const { temperature, topP, seed } = options;
  const rng = createRng(seed);
  const next = () => ({ query: { token: { temperature, topP, uniform: temperature > 0 ? rng() : 0 } } });
  const maxTokens = Math.min(options.maxTokens, engine.config.maxPositionEmbeddings - ids.length);
  const cache = engine.newSequence();
  let answers: ForwardResult['answers'] = [];
  const wanted = (position: number) => (position === ids.length - 1 ? next() : {});
  await readPrompt(local, ids, cache, wanted, (result, done) => {
    answers = result.answers.slice(-1);
    io.stderr.write(`prompt: ${done} of ${ids.length} tokens\n`);
  });
  const answer: Answer = { ids: [], text: '', finish_reason: 'length' };
  const detokenizer = local.tokenizer.detokenizer();
  for (;;) {
    const { tokenId } = answerOf(answers, 0);
    if (local.eosTokenIds.includes(tokenId)) return { ...answer, finish_reason: 'stop' };
    answer.ids.push(tokenId);
    const piece = detokenizer.push(tokenId);
    answer.text += piece;
    if (!options.json) io.stdout.write(piece);
    if (answer.ids.length === maxTokens) return answer;
    const row = { tokenId, position: cache.length, cache, ...next() };
    ({ answers } = await engine.forward([row], experts));
  }
}

async function runPerplexity(local: Local, options: LocalOptions, io: LocalIo): Promise<void> {
  const { engine, tokenizer, experts } = local;
  const text = await readText(options.file!);
  const score = (scored: ExpertDispatch) =>
    scorePerplexity(engine, tokenizer, text, scored, {
      onProgress: (done, total) => io.stderr.write(`${done} of ${total} tokens\n`),
    });
  const exact = await score(experts);
  const size = `${exact.tokens} tokens in ${exact.documents} documents`;
  if (options.deviceLimit === undefined) {
    if (options.json) writeJson(io, exact);
    else io.stdout.write(`perplexity ${exact.perplexity.toFixed(4)} (${size})\n`);
    return;
  }
  const { maxPeers, placement } = options.deviceLimit;
  const limited = limitExperts(experts, await readPlacement(placement, engine.config), maxPeers, engine.config);
  const { perplexity } = await score(limited);
  const costPercent = 100 * (perplexity / exact.perplexity - 1);
  const { tokenLayers, changed } = limited.usage;
  if (options.json) {
    writeJson(io, { ...exact, deviceLimit: { maxPeers, perplexity, costPercent, tokenLayers, changed } });
  } else {
    io.stdout.write(
      `perplexity ${exact.perplexity.toFixed(4)} exact, ${perplexity.toFixed(4)} with at most ${maxPeers} tabs per token and ` +
        `layer (${costPercent.toFixed(2)} %, ${size}); the limit changed ${changed} of ${tokenLayers} token-layers\n`,
    );
  }
}

async function runLogits(local: Local, options: LocalOptions, io: LocalIo): Promise<void> {
  const { vocabSize } = local.engine.config;
  const path = options.out!;
  const ids = await promptIds(local, options.prompt!, 0);
  const file = await open(path, 'w').catch((cause: unknown) => {
    throw new Error(`${path}: cannot be written (${cause instanceof Error ? cause.message : String(cause)})`, {
      cause,
    });
  });
  try {
    await readPrompt(
      local,
      ids,
      local.engine.newSequence(),
      () => ({ wantLogits: true }),
      async ({ logits }, done) => {
        for (const row of logits) await file.writeFile(littleEndian(row!));
        io.stderr.write(`${done} of ${ids.length} positions\n`);
      },
    );
  } finally {
    await file.close();
  }
  const summary = { out: path, dtype: 'f32le', shape: [ids.length, vocabSize], ids };
  if (options.json) writeJson(io, summary);
  else io.stdout.write(`${path}: float32 little-endian [${ids.length}, ${vocabSize}]\n`);
}

function littleEndian(values: Float32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.byteLength));
  for (const [i, value] of values.entries()) view.setFloat32(i * Float32Array.BYTES_PER_ELEMENT, value, true);
  return new Uint8Array(view.buffer);
}

function writeJson(io: LocalIo, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value)}\n`);
}
