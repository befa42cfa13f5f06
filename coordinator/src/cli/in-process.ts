import { open } from 'node:fs/promises';
import {
  answerOf,
  argmax,
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
import { UsageError } from '../base/usage-error.ts';
import type { Config } from '../config.ts';
import { openDenseEngine } from '../dense-engine.ts';
import type { OptionValues } from '../base/options.ts';
import { command, type CommandIo } from './command.ts';
import { limitExperts, readPlacement } from './device-limit.ts';
import { openExperts } from './in-process-experts.ts';
import { openModelOption } from './model-option.ts';
import { sourcePrompt, type SourcePrompt } from './source-prompt.ts';
import {
  GENERATE_OPTIONS,
  LOGITS_OPTIONS,
  PERPLEXITY_OPTIONS,
  type PromptOptions,
  readText,
} from './in-process-options.ts';

/** Rows per forward pass while a prompt is read: enough to share each weight, little enough to show progress. */
const CHUNK_ROWS = 64;

const PROMPT_USAGE = '(--prompt TEXT | --ids 1,2,3 | --prompt-file FILE)';

const runGenerate = command({
  name: 'generate',
  usage: [`--model MODEL ${PROMPT_USAGE} [options]`],
  about: 'Continues a text in this process, or answers one with an encoder–decoder, without any tab.',
  options: GENERATE_OPTIONS,
  run: async (options, io) => {
    requirePrompt(options);
    await withLocal(options, io, (local) => generate(local, options, io));
  },
});

const runPerplexity = command({
  name: 'perplexity',
  usage: ['--model MODEL --file TEXTFILE [--device-limit N --placement FILE] [options]'],
  about: `
Prints how well the model predicts a text: exp of the mean negative log-likelihood per token. Documents are separated by the
model's end-of-text token as text, trimmed, and scored as <bos> document <eos>, counting every token but <bos>. A document
longer than the context is scored in windows, each from a fresh <bos>.`,
  options: PERPLEXITY_OPTIONS,
  run: async (options, io) => {
    if ((options.deviceLimit === undefined) !== (options.placement === undefined)) {
      throw new UsageError('--device-limit and --placement go together: the limit is on the tabs of a placement');
    }
    await withLocal(options, io, (local) => perplexity(refuseSources(local, 'perplexity'), options, io));
  },
});

const runLogits = command({
  name: 'logits',
  usage: [`--model MODEL ${PROMPT_USAGE} --out FILE [options]`],
  about: 'Writes the logits of every position as raw little-endian float32, [positions, vocab], row-major.',
  options: LOGITS_OPTIONS,
  run: async (options, io) => {
    requirePrompt(options);
    await withLocal(options, io, (local) => logits(refuseSources(local, 'logits'), options, io));
  },
});

/** The commands that run the model in this process, so that its numbers can be compared with other implementations'. */
export const inProcess = { generate: runGenerate, perplexity: runPerplexity, logits: runLogits };

/** Throws a UsageError for an encoder–decoder, which doesn't go on from a text. */
function refuseSources(local: Local, command: string): Local {
  if (!local.engine.config.seq2seq) return local;
  throw new UsageError(`${command} is about models that continue a text, and this is an encoder–decoder: use generate`);
}

function requirePrompt({ prompt, ids, promptFile }: PromptOptions): void {
  const given = [prompt, ids, promptFile].filter((source) => source !== undefined).length;
  if (given === 0) throw new UsageError('one of --prompt, --ids or --prompt-file is missing');
  if (given > 1) throw new UsageError('--prompt, --ids and --prompt-file exclude each other');
}

interface Local {
  engine: ForwardEngine;
  tokenizer: Tokenizer;
  experts: ExpertDispatch;
  eosTokenIds: readonly number[];
}

async function withLocal(
  { model, offline, engine: name, threads }: Pick<Config, 'model' | 'offline' | 'engine' | 'threads'>,
  io: CommandIo,
  work: (local: Local) => Promise<void>,
): Promise<void> {
  const opened = await openModel(await openModelOption({ model, offline }, io));
  const closing = [() => opened.close()];
  try {
    const { folder, config, reader, dense } = opened;
    if (config.encoder)
      throw new UsageError(
        `${model} is an encoder: it makes embeddings and no text. Serve it, and ask POST /v1/embeddings`,
      );
    const tokenizer = await loadTokenizer(folder);
    const { eosTokenIds = config.eosTokenIds } = await loadGenerationConfig(folder);
    io.stderr.write(`reading ${model}\n`);
    const engine = await openDenseEngine({ config, engine: name, reader, packed: dense, threads });
    closing.push(() => engine.close());
    const { experts, close } = await openExperts(opened, name, threads);
    closing.push(async () => close());
    await work({ engine, tokenizer, experts, eosTokenIds });
  } finally {
    for (const closeOne of closing.toReversed()) await closeOne();
  }
}

/** Token ids of the prompt, checked against vocabulary and context. */
async function promptIds({ engine, tokenizer }: Local, options: PromptOptions, room: number): Promise<number[]> {
  const { vocabSize, maxPositionEmbeddings } = engine.config;
  const ids = options.ids ?? tokenizer.encodePrompt(options.prompt ?? (await readText(options.promptFile!)));
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

/** Computes the rows of `ids` in chunks, with the query that `wanted` gives for a position. */
async function readPrompt(
  { engine, experts }: Local,
  ids: readonly number[],
  cache: SequenceCache,
  wanted: (position: number) => Pick<EngineRow, 'wantLogits' | 'query'>,
  onChunk: (result: ForwardResult, positionsDone: number) => void | Promise<void>,
): Promise<void> {
  for (let start = 0; start < ids.length; start += CHUNK_ROWS) {
    // An encoder–decoder's sequence begins with its source.
    const before = cache.length;
    const rows = ids.slice(start, start + CHUNK_ROWS).map((tokenId, i) => {
      return { tokenId, position: before + i, cache, ...wanted(start + i) };
    });
    const result = await engine.forward(rows, experts);
    const fault = result.faults?.find((error) => error !== undefined);
    if (fault) throw fault;
    await onChunk(result, start + rows.length);
  }
}

type GenerateOptions = OptionValues<typeof GENERATE_OPTIONS>;

async function generate(local: Local, options: GenerateOptions, io: CommandIo): Promise<void> {
  const isSource = local.engine.config.seq2seq !== undefined;
  const prompt = isSource ? await sourceOf(local, options) : { ids: await promptIds(local, options, 1) };
  const { ids } = prompt;
  const started = performance.now();
  const answer = await continueText(local, prompt, options, io);
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

/** Tokens that are continued or, with `prefix`, that an encoder–decoder answers to. */
interface Prompt {
  ids: number[];
  prefix?: readonly number[];
}

/** The source of an encoder–decoder, checked as `promptIds` does. */
async function sourceOf(local: Local, options: GenerateOptions): Promise<SourcePrompt> {
  const { engine, tokenizer } = local;
  const { ids, prompt, promptFile } = options;
  const given = ids ? { ids } : { text: prompt ?? (await readText(promptFile!)) };
  const source = sourcePrompt({ config: engine.config, tokenizer }, given, options);
  await promptIds(local, { ...options, ids: source.ids }, 0);
  return source;
}

/** A new sequence, of an encoder–decoder with its source. */
async function openSequence({ engine, experts }: Local, { ids, prefix }: Prompt): Promise<SequenceCache> {
  const cache = engine.newSequence();
  if (!prefix) return cache;
  const { faults } = await engine.encodeSources!([{ ids, cache }], experts);
  const fault = faults?.find((error) => error !== undefined);
  if (fault) throw fault;
  return cache;
}

async function continueText(local: Local, prompt: Prompt, options: GenerateOptions, io: CommandIo): Promise<Answer> {
  const { engine, experts } = local;
  const ids = prompt.prefix ?? prompt.ids;
  const { temperature, topP, seed } = options;
  const rng = createRng(seed);
  const next = () => ({ query: { token: { temperature, topP, uniform: temperature > 0 ? rng() : 0 } } });
  const maxTokens = Math.min(options.maxTokens, engine.config.maxPositionEmbeddings - ids.length);
  const cache = await openSequence(local, prompt);
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

async function perplexity(
  local: Local,
  options: OptionValues<typeof PERPLEXITY_OPTIONS>,
  io: CommandIo,
): Promise<void> {
  const { engine, tokenizer, experts } = local;
  const text = await readText(options.file);
  const score = (scored: ExpertDispatch) =>
    scorePerplexity(engine, tokenizer, text, scored, {
      onProgress: (done, total) => io.stderr.write(`${done} of ${total} tokens\n`),
    });
  const exact = await score(experts);
  const size = `${exact.tokens} tokens in ${exact.documents} documents`;
  const { deviceLimit: maxPeers, placement } = options;
  if (maxPeers === undefined || placement === undefined) {
    if (options.json) writeJson(io, exact);
    else io.stdout.write(`perplexity ${exact.perplexity.toFixed(4)} (${size})\n`);
    return;
  }
  const limited = limitExperts(experts, await readPlacement(placement, engine.config), maxPeers, engine.config);
  const { perplexity: limitedPerplexity } = await score(limited);
  const costPercent = 100 * (limitedPerplexity / exact.perplexity - 1);
  const { tokenLayers, changed } = limited.usage;
  if (options.json) {
    writeJson(io, {
      ...exact,
      deviceLimit: { maxPeers, perplexity: limitedPerplexity, costPercent, tokenLayers, changed },
    });
  } else {
    io.stdout.write(
      `perplexity ${exact.perplexity.toFixed(4)} exact, ${limitedPerplexity.toFixed(4)} with at most ${maxPeers} tabs per token and ` +
        `layer (${costPercent.toFixed(2)} %, ${size}); the limit changed ${changed} of ${tokenLayers} token-layers\n`,
    );
  }
}

async function logits(local: Local, options: OptionValues<typeof LOGITS_OPTIONS>, io: CommandIo): Promise<void> {
  const { vocabSize } = local.engine.config;
  const { out: path } = options;
  const ids = await promptIds(local, options, 0);
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
      async ({ logits: rows }, done) => {
        for (const row of rows) {
          // Throws where the logits are not finite.
          argmax(row!);
          await file.writeFile(littleEndian(row!));
        }
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

function writeJson(io: CommandIo, value: unknown): void {
  io.stdout.write(`${JSON.stringify(value)}\n`);
}
