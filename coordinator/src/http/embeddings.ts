import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EmbeddingService } from '../scheduler/encoder/encoder-scheduler.ts';
import type { TextClient } from '../text/text-thread.ts';
import type { HttpDeps } from './deps.ts';
import type { PlainEndpoint, PlainWork } from './endpoint.ts';
import { ApiError } from './errors.ts';
import { bodyError, ignored, list, z } from './requests/fields.ts';
import { adapterOf, checkIds, encode } from './requests/parse-common.ts';
import type { ParseDeps } from './requests/parsed-request.ts';
import { model } from './requests/sampling-schema.ts';

/** OpenAI's limits of one request. */
const MAX_INPUTS = 2_048;
const MAX_TOKENS = 300_000;
/** Embeddings that are written at once; 64 of 768 values take about 10 ms as numbers. */
const AT_ONCE = 64;

const tokenArray = list(z.number().int().min(0));

export const embeddingsRequestSchema = z.object(
  {
    model,
    input: z
      .union([z.string(), list(z.string()), tokenArray, list(tokenArray)], {
        error: 'expected a string, an array of strings, an array of token ids, or an array of arrays of token ids',
      })
      .meta({
        description:
          `Text or token ids, or an array of up to ${MAX_INPUTS} of either, of ${MAX_TOKENS} tokens together. Prefixes that the ` +
          'model’s card asks for, such as "search_query: ", are the client’s to write. Token ids are taken as they are, so they ' +
          'have to begin and end as /v1/tokenize has it.',
      }),
    encoding_format: z.enum(['float', 'base64']).nullish().meta({
      description: 'Numbers (the default), or the little-endian float32 of each embedding in Base64.',
    }),
    dimensions: z.number().int().min(1).nullish().meta({
      description: 'Keep only the first so many values, and normalise again. Default: all.',
    }),
    add_special_tokens: z
      .boolean()
      .nullish()
      .meta({ description: 'false: texts get no tokens before and after them.' }),
    user: ignored,
  },
  { error: bodyError },
);
export type EmbeddingsRequest = z.infer<typeof embeddingsRequestSchema>;

export const embeddingsSchema = z.object({
  object: z.literal('list'),
  model: z.string(),
  data: z.array(
    z.object({
      object: z.literal('embedding'),
      index: z.number().int(),
      embedding: z.union([z.array(z.number()), z.string()]).meta({ description: 'Its norm is 1.' }),
    }),
  ),
  usage: z.object({ prompt_tokens: z.number().int(), total_tokens: z.number().int() }),
});

/** OpenAI's embeddings. */
export const embeddings: PlainEndpoint<EmbeddingsRequest> = {
  url: '/v1/embeddings',
  schema: embeddingsRequestSchema,
  read: (body) => ({ answer: (deps, client, work) => embedded(body, deps, client, work) }),
};

/** Throws an ApiError where the model makes no text. */
export function refuseEncoder({ embeddings: service, generation }: Pick<HttpDeps, 'embeddings' | 'generation'>): void {
  if (!service) return;
  const remedy = 'Send the text to POST /v1/embeddings, or start the coordinator with a language model.';
  throw ApiError.invalid('model', `"${generation.modelId}" is an encoder: it makes embeddings and no text. ${remedy}`);
}

async function embedded(
  body: EmbeddingsRequest,
  deps: ParseDeps,
  client: TextClient,
  { requestId, signal, hold }: PlainWork,
): Promise<{ json: string }> {
  const service = serviceOf(deps);
  if (adapterOf(body.model, deps)) throw ApiError.unknownModel(deps.generation.modelId);
  const dimensions = body.dimensions ?? service.dimensions;
  if (dimensions > service.dimensions) {
    const problem = `it is ${dimensions}, and this model's embeddings have ${service.dimensions} values`;
    throw ApiError.invalid('dimensions', `Invalid 'dimensions': ${problem}. Ask for fewer, or leave it out.`);
  }
  const inputs = await inputIds(body, service, deps, client);
  const promptTokens = inputs.reduce((sum, { length }) => sum + length, 0);
  hold(promptTokens);
  const vectors = await service.embed({ id: requestId, inputs, dimensions, client: client.client, signal });
  return { json: await written(vectors, body, deps, promptTokens) };
}

function serviceOf({ embeddings: service, generation: { modelId } }: ParseDeps): EmbeddingService {
  if (service) return service;
  const remedy =
    'Use /v1/chat/completions or /v1/completions, or start the coordinator with an encoder, as --model nomic-ai/nomic-embed-text-v2-moe.';
  throw ApiError.invalid('model', `"${modelId}" is a language model: it makes text and no embeddings. ${remedy}`);
}

/** The token ids of each input. Rejects with an ApiError that names the input. */
async function inputIds(
  body: EmbeddingsRequest,
  service: EmbeddingService,
  deps: ParseDeps,
  client: TextClient,
): Promise<(readonly number[])[]> {
  const inputs = inputsOf(body.input);
  if (inputs.length === 0 || inputs.length > MAX_INPUTS) {
    const problem = `it has ${inputs.length} inputs; one request takes from 1 to ${MAX_INPUTS}`;
    throw ApiError.invalid('input', `Invalid 'input': ${problem}. Split it.`);
  }
  const all: (readonly number[])[] = [];
  let tokens = 0;
  // One after the other, so that a request has one text in the queue.
  for (const [param, input] of inputs) {
    if (input.length === 0) throw ApiError.invalid(param, `Invalid '${param}': it is empty. Leave it out.`);
    const ids = typeof input === 'string' ? await textIds(input, param, body, service, deps, client) : input;
    if (typeof input !== 'string') checkIds(param, ids, deps.codec.vocabSize);
    if (ids.length === 0) throw ApiError.invalid(param, `Invalid '${param}': it has no tokens. Leave it out.`);
    if (ids.length > service.maxTokens) throw tooLong(param, ids.length, service);
    tokens += ids.length;
    if (tokens > MAX_TOKENS) {
      const problem = `up to here it has ${tokens} tokens; one request takes ${MAX_TOKENS}`;
      throw ApiError.invalid(param, `Invalid '${param}': ${problem}. Split it.`);
    }
    all.push(ids);
  }
  return all;
}

/** Inputs with the parameter that names them in errors. */
function inputsOf(input: EmbeddingsRequest['input']): [param: string, input: string | number[]][] {
  if (typeof input === 'string') return [['input', input]];
  if (typeof input[0] === 'number') return [['input', input as number[]]];
  return (input as (string | number[])[]).map((one, index) => [`input[${index}]`, one]);
}

async function textIds(
  text: string,
  param: string,
  body: EmbeddingsRequest,
  service: EmbeddingService,
  deps: ParseDeps,
  client: TextClient,
): Promise<number[]> {
  const addsSpecialTokens = body.add_special_tokens ?? true;
  try {
    return (await encode({ text, addsSpecialTokens, isWhole: true }, param, {}, deps, client)).list;
  } catch (thrown) {
    const isTooLong = thrown instanceof ApiError && thrown.code === 'context_length_exceeded';
    throw isTooLong ? tooLong(param, 'more', service) : thrown;
  }
}

function tooLong(param: string, tokens: number | 'more', { maxTokens }: EmbeddingService): ApiError {
  const problem = `This model's maximum context length is ${maxTokens} tokens, and '${param}' has ${tokens}`;
  return ApiError.contextLength(param, `${problem}. Shorten it, or split it into several inputs.`);
}

/** The document, written in pieces, so that other work gets its turn between them: 2,048 embeddings of 768 numbers are 30 MB. */
async function written(
  vectors: readonly Float32Array[],
  { encoding_format: format }: EmbeddingsRequest,
  { generation: { modelId } }: ParseDeps,
  promptTokens: number,
): Promise<string> {
  const data: string[] = [];
  for (const [index, vector] of vectors.entries()) {
    if (index > 0 && index % AT_ONCE === 0) await nextTurn();
    const embedding = format === 'base64' ? base64(vector) : Array.from(vector);
    data.push(JSON.stringify({ object: 'embedding', index, embedding }));
  }
  const usage = { prompt_tokens: promptTokens, total_tokens: promptTokens };
  const rest = JSON.stringify({ model: modelId, usage }).slice(1);
  return `{"object":"list","data":[${data.join(',')}],${rest}`;
}

function base64(vector: Float32Array): string {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64');
}
