import type { TextClient } from '../../text/text-thread.ts';
import { ApiError } from '../errors.ts';
import type { CompletionRequest } from './completion-schema.ts';
import { constraintOf } from './constraint.ts';
import { checkIds, encode, fitContext, parseCommon, truncated, underAdapter } from './parse-common.ts';
import type { ParsedPrompt, ParsedRequest, ParseDeps } from './parsed-request.ts';
import { routeByPrompts } from './route.ts';
import { answerPrefix, encodeSource, fitSource, refuseBesideSource, type SourcePrompt } from './source.ts';

/** OpenAI's default for completions. Chat answers may fill the context. */
const DEFAULT_COMPLETION_TOKENS = 16;

/** Rejects with an ApiError that names the parameter, or with the reason of the client's signal. */
export async function parseCompletion(
  body: CompletionRequest,
  all: ParseDeps,
  client: TextClient,
): Promise<ParsedRequest> {
  const deps = underAdapter(body.model, all);
  const asked = logprobsOf(body.logprobs);
  if (deps.source) refuseBesideSource(body);
  const common = parseCommon(body, asked, deps);
  const bestOf = bestOfN(body, common);
  const prompts = completionPrompts(body.prompt);
  // Counted before tokenizing, so that a refusal costs nothing.
  if (prompts.length * bestOf > deps.limits.choicesPerRequest) {
    throw tooManyAnswers(prompts.length, bestOf, body, deps);
  }
  const openConstraint = await constraintOf(body, deps, client);
  const parsed: ParsedPrompt[] = [];
  // One after the other, so that a request has one text in the queue.
  for (const [param, prompt] of prompts) {
    const wanted = body.max_tokens ?? body.n_predict;
    const fit = async (): Promise<ParsedPrompt> => {
      if (deps.source) return fitSource(await sourceOf(prompt, param, body, deps, client), wanted, param, deps);
      const ids = await promptIds(prompt, param, body, deps, client);
      return fitContext(ids, wanted, DEFAULT_COMPLETION_TOKENS, param, deps);
    };
    parsed.push(await fit());
  }
  const route = routeByPrompts(body.model, parsed, deps);
  const adapter = route ? route.adapter : common.generation.adapter;
  const generation = { ...common.generation, adapter, ...(bestOf > common.n && { topLogprobs: asked ?? 0 }) };
  return { ...common, route, generation, bestOf, prompts: parsed, echo: body.echo ?? false, openConstraint };
}

/** Names what makes them too many: how often each prompt is answered, unless there are too many prompts for one answer each. */
function tooManyAnswers(
  prompts: number,
  each: number,
  { best_of: bestOf, n }: CompletionRequest,
  { limits: { choicesPerRequest: most } }: ParseDeps,
): ApiError {
  const times = (bestOf ?? 0) > (n ?? 1) ? 'best_of' : 'n';
  const param = prompts > most || each === 1 ? 'prompt' : times;
  const product = `prompts × ${times} is ${prompts} × ${each} = ${prompts * each}`;
  return ApiError.invalid(
    param,
    `Invalid '${param}': ${product}; one request makes at most ${most} answers. Split it.`,
  );
}

/** `true` asks for the tokens' own log-probabilities, without alternatives, as chat's `logprobs` does. */
function logprobsOf(asked: CompletionRequest['logprobs']): number | undefined {
  return typeof asked === 'boolean' ? (asked ? 0 : undefined) : (asked ?? undefined);
}

function bestOfN(body: CompletionRequest, { n, stream }: { n: number; stream: boolean }): number {
  const bestOf = body.best_of ?? n;
  if (bestOf < n)
    throw ApiError.invalid('best_of', `Invalid 'best_of': it is ${bestOf}, and must be at least n (${n}).`);
  if (bestOf > n && stream) {
    throw ApiError.invalid('best_of', "Invalid 'best_of': the best answers are known at the end; send stream: false.");
  }
  return bestOf;
}

/** Prompts with the parameter that names them in errors. */
function completionPrompts(prompt: CompletionRequest['prompt']): [param: string, prompt: string | number[]][] {
  if (typeof prompt === 'string') return [['prompt', prompt]];
  if (typeof prompt[0] === 'number') return [['prompt', prompt as number[]]];
  return (prompt as (string | number[])[]).map((one, index) => [`prompt[${index}]`, one]);
}

async function sourceOf(
  prompt: string | number[],
  param: string,
  body: CompletionRequest,
  deps: ParseDeps,
  client: TextClient,
): Promise<SourcePrompt> {
  if (typeof prompt === 'string') return encodeSource(prompt, param, body, deps, client);
  checkIds(param, prompt, deps.codec.vocabSize);
  return { ids: truncated(prompt, body, deps.generation.maxContext), answerPrefix: answerPrefix(body, deps) };
}

async function promptIds(
  prompt: string | number[],
  param: string,
  body: CompletionRequest,
  deps: ParseDeps,
  client: TextClient,
): Promise<number[]> {
  const { codec, generation } = deps;
  if (typeof prompt === 'string') {
    const text = fillInTheMiddle(prompt, body.suffix, deps);
    const addsSpecialTokens = body.add_special_tokens ?? true;
    return (await encode({ text, addsSpecialTokens }, param, body, deps, client)).list;
  }
  if (body.suffix) {
    throw ApiError.invalid('suffix', "Invalid 'suffix': it needs a prompt of text, not of token ids.");
  }
  checkIds(param, prompt, codec.vocabSize);
  return truncated(prompt, body, generation.maxContext);
}

/** Prefix and suffix between the model's own markers, in the order prefix, suffix, middle (Bavarian et al. 2022, §3). */
function fillInTheMiddle(prefix: string, suffix: string | null | undefined, { codec }: ParseDeps): string {
  if (!suffix) return prefix;
  const { fim } = codec;
  if (fim) return `${fim.prefix}${prefix}${fim.suffix}${suffix}${fim.middle}`;
  throw ApiError.invalid('suffix', "Invalid 'suffix': this model has no fill-in-the-middle tokens. Leave it out.");
}
