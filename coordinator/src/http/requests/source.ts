import type { TextClient } from '../../text/text-thread.ts';
import { ApiError } from '../errors.ts';
import type { ChatRequest } from './chat-schema.ts';
import type { CompletionRequest } from './completion-schema.ts';
import type { Kept } from './parse-common.ts';
import type { ParsedPrompt, ParseDeps } from './parsed-request.ts';
import { encode } from './parse-common.ts';

type Body = CompletionRequest | ChatRequest;

/** A source, and what its answer begins with. */
export interface SourcePrompt {
  ids: number[];
  answerPrefix: readonly number[];
}

/** The source language where neither the request nor the text names one, as NLLB's tokenizer has it. */
const DEFAULT_SOURCE = 'eng_Latn';
/** FLORES-200's codes, which the text may begin with. */
const LEADING_CODE = /^\s*([a-z]{3}_[A-Z][a-z]{3})(?=\s|$)/;
/** Languages that an error names. */
const MAX_NEAR = 5;

/** Throws an ApiError for what has no meaning where the prompt is a source of its own. */
export function refuseBesideSource(body: Body): void {
  const refuse = (param: string, why: string): never => {
    throw ApiError.invalid(param, `Invalid '${param}': this model is an encoder–decoder, ${why}`);
  };
  if ('echo' in body && body.echo) refuse('echo', 'whose answers do not go on from their prompt. Leave it out.');
  if (body.prompt_logprobs != null) refuse('prompt_logprobs', 'which reads its prompt whole. Leave it out.');
  if ('prompt' in body && body.suffix) refuse('suffix', 'which fills no gaps. Leave it out.');
  if (body.shoal?.device_limit) refuse('shoal.device_limit', 'whose gate looks at whole texts. Leave it out.');
  if (!('messages' in body)) return;
  if (body.continue_final_message) refuse('continue_final_message', 'which begins each answer anew. Leave it out.');
  if (body.tools?.length) refuse('tools', 'which was not taught to call any. Leave them out.');
}

/** The source of a conversation: the text of its last message of the user, and nothing else. */
export function sourceText(messages: ChatRequest['messages']): string {
  const last = messages.findLast(({ role }) => role === 'user');
  if (!last) {
    throw ApiError.invalid(
      'messages',
      "Invalid 'messages': the last message of the user is what is answered; there is none.",
    );
  }
  const { content } = last;
  return typeof content === 'string' ? content : (content ?? []).map((part) => part.text ?? '').join('');
}

/** The source that a text is. Rejects as `encode` does. */
export async function encodeSource(
  text: string,
  param: string,
  body: Pick<Body, 'shoal'> & Kept & { add_special_tokens?: unknown },
  deps: ParseDeps,
  client: TextClient,
): Promise<SourcePrompt> {
  const { languages, targetPrefix, endOfSource } = deps.source!;
  const addsSpecialTokens = body.add_special_tokens !== false;
  if (languages.size === 0) {
    refuseLanguages(body);
    const { list: ids } = await encode({ text, addsSpecialTokens, isWhole: true }, param, body, deps, client);
    return { ids, answerPrefix: targetPrefix };
  }
  const { source, target, rest } = languagesOf(text, body, deps);
  const { list } = await encode({ text: rest, addsSpecialTokens: false }, param, body, deps, client);
  return { ids: [source, ...list, endOfSource], answerPrefix: [targetPrefix[0]!, target] };
}

/** The answer's beginning for a source that is given as tokens, which are taken as they are. */
export function answerPrefix(body: Pick<Body, 'shoal'>, deps: ParseDeps): readonly number[] {
  const { languages, targetPrefix } = deps.source!;
  if (languages.size > 0) return [targetPrefix[0]!, languageToken('target_language', asked(body).target, deps)];
  refuseLanguages(body);
  return targetPrefix;
}

const asked = ({ shoal }: Pick<Body, 'shoal'>) => ({
  source: shoal?.source_language,
  target: shoal?.target_language,
});

function refuseLanguages(body: Pick<Body, 'shoal'>): void {
  for (const [key, language] of Object.entries(asked(body))) {
    if (language === undefined) continue;
    const param = `shoal.${key}_language`;
    throw ApiError.invalid(param, `Invalid '${param}': this model has no languages to choose from. Leave it out.`);
  }
}

/** By the request, or else by the codes that the text begins with: one is the source's, of two the second is the target's. */
function languagesOf(
  text: string,
  body: Pick<Body, 'shoal'>,
  deps: ParseDeps,
): { source: number; target: number; rest: string } {
  const given = asked(body);
  const codes: string[] = [];
  let rest = text;
  for (let code = LEADING_CODE.exec(rest); code && codes.length < 2; code = LEADING_CODE.exec(rest)) {
    // A word of the text that only looks like a code stays in it.
    if (!deps.source!.languages.has(code[1]!)) break;
    codes.push(code[1]!);
    rest = rest.slice(code[0].length).trimStart();
  }
  const source = given.source ?? codes[0] ?? DEFAULT_SOURCE;
  return {
    source: languageToken('source_language', source, deps),
    target: languageToken('target_language', given.target ?? codes[1], deps),
    rest,
  };
}

/** Throws an ApiError that names near languages. */
function languageToken(key: string, code: string | undefined, { source }: ParseDeps): number {
  const param = `shoal.${key}`;
  const { languages } = source!;
  if (code === undefined) {
    const example = '"shoal": {"source_language": "eng_Latn", "target_language": "fra_Latn"}';
    const message = `Missing '${param}': say what to translate into, as ${example}, or begin the text with both codes.`;
    throw ApiError.invalid(param, message);
  }
  const token = languages.get(code);
  if (token !== undefined) return token;
  const near = nearest(code, [...languages.keys()]).join(', ');
  throw ApiError.invalid(
    param,
    `Invalid '${param}': the model has no language ${JSON.stringify(code)}. Near ones: ${near}.`,
  );
}

/** The codes with the fewest edits, of which those of the same beginning come first. */
function nearest(code: string, codes: readonly string[]): string[] {
  const wanted = code.toLowerCase();
  const distance = (other: string): number => {
    const begins = other.toLowerCase().startsWith(wanted.slice(0, 2)) ? 0 : 2;
    return begins + editDistance(wanted, other.toLowerCase());
  };
  return codes
    .map((other) => ({ other, far: distance(other) }))
    .toSorted((a, b) => a.far - b.far || (a.other < b.other ? -1 : 1))
    .slice(0, MAX_NEAR)
    .map(({ other }) => other);
}

/** Insertions, deletions and replacements from one text to another (Levenshtein 1966). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1])));
    }
    row = next;
  }
  return row.at(-1)!;
}

/**
 * A source with room for its answer: `asked` tokens (-1, null: all that an answer may have, since it ends by itself), or that if it is
 * less. Throws an ApiError for a source that is empty or too long.
 */
export function fitSource(
  { ids, answerPrefix: prefix }: SourcePrompt,
  wanted: number | null | undefined,
  param: string,
  { generation: { maxContext } }: Pick<ParseDeps, 'generation'>,
): ParsedPrompt {
  if (ids.length === 0) throw ApiError.invalid(param, `Invalid '${param}': it has no tokens. Send a text.`);
  if (ids.length > maxContext) {
    const message = `This model reads at most ${maxContext} tokens, and the prompt has ${ids.length}. Shorten it, or send truncate_prompt_tokens.`;
    throw ApiError.contextLength(param, message);
  }
  const room = maxContext - prefix.length;
  const maxTokens = wanted == null || wanted === -1 ? room : Math.min(wanted, room);
  return { ids, maxTokens, answerPrefix: prefix };
}
