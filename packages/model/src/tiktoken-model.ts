import { z } from 'zod';
import { byteLevelText } from './byte-level.ts';
import { ModelError } from './errors.ts';
import type { JsonText } from './json-file.ts';

/** Far above any published vocabulary. */
const MAX_RANKS = 1 << 20;
/** The longest published token is 128 spaces; splitting one takes a time that is the square of its length. */
export const MAX_TOKEN_BYTES = 256;
/** Ids after the ranks that a tokenizer of this kind keeps for special tokens. */
const RESERVED_TOKENS = 256;

const configSchema = z.looseObject({
  auto_map: z.looseObject({ AutoTokenizer: z.array(z.string().nullable()) }).nullish(),
  added_tokens_decoder: z
    .record(
      z.string().regex(/^\d{1,7}$/),
      z.looseObject({ content: z.string().min(1), special: z.boolean().nullish() }),
    )
    .nullish(),
});

/** How Kimi's tokenizers split a text into words, where no source file says it. */
const KIMI_PATTERN = [
  String.raw`[\p{Han}]+`,
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
  String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?`,
  String.raw`\p{N}{1,3}`,
  String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`,
  String.raw`\s*[\r\n]+`,
  String.raw`\s+(?!\S)`,
  String.raw`\s+`,
].join('|');

/** The Python file, beside the model, that has the tokenizer's code; undefined if the config names none. */
export function tokenizerSource(configJson: unknown): string | undefined {
  const name = configSchema.safeParse(configJson).data?.auto_map?.AutoTokenizer.find((one) => one !== null);
  return /^(\w{1,64})\.\w+$/.exec(name ?? '')?.[1]?.concat('.py');
}

/**
 * What `tokenizer.json` would be for a `tiktoken.model`, which Kimi and Moonlight publish instead: lines of a token in base64 and
 * its rank. `source` is the text of the tokenizer's Python file, of which only the pattern for words is read. Throws a ModelError
 * naming the file and the line.
 */
export function fromTiktoken(model: JsonText, configJson: unknown, source: JsonText | undefined): object {
  const ranks = readRanks(model);
  const config = configSchema.safeParse(configJson);
  if (!config.success) {
    const { path, message } = config.error.issues[0]!;
    throw new ModelError('bad-tokenizer', path.join('.'), `tokenizer_config.json: ${path.join('.')}: ${message}`);
  }
  const pattern = source ? patternOf(source) : KIMI_PATTERN;
  const split = { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };
  return {
    normalizer: null,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split, bytes] },
    // tiktoken looks a whole word up before it merges, so tokens that no merges make occur too.
    model: { type: 'BPE', vocab: Object.fromEntries(ranks), merges: mergesOf(ranks), ignore_merges: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    added_tokens: specialTokens(ranks.size, config.data.added_tokens_decoder ?? {}),
  };
}

/** Tokens in byte-level characters, in the order of their ranks. */
function readRanks({ path, text }: JsonText): Map<string, number> {
  const fault = (line: number, what: string): ModelError =>
    new ModelError('bad-tokenizer', 'tiktoken.model', `${path}: line ${line + 1}: ${what}`);
  const lines = text.split(/\r?\n/);
  const byRank: string[] = [];
  const seen = new Set<string>();
  for (const [at, line] of lines.entries()) {
    if (line === '') continue;
    const parsed = /^([A-Za-z0-9+/]+={0,2}) (\d{1,7})$/.exec(line);
    if (!parsed) throw fault(at, 'expected a token in base64, a space and its rank');
    const bytes = Uint8Array.from(
      atobOr(parsed[1]!, () => fault(at, 'the token is not valid base64')),
      (one) => one.charCodeAt(0),
    );
    if (bytes.length > MAX_TOKEN_BYTES)
      throw fault(at, `a token of ${bytes.length} bytes, more than ${MAX_TOKEN_BYTES}`);
    const token = byteLevelText(bytes);
    const rank = Number(parsed[2]);
    if (rank >= MAX_RANKS) throw fault(at, `rank ${rank}, more than the ${MAX_RANKS} that are read`);
    if (seen.has(token) || byRank[rank] !== undefined) throw fault(at, 'its token or its rank is there twice');
    seen.add(token);
    byRank[rank] = token;
  }
  if (byRank.length !== seen.size)
    throw fault(lines.length - 1, `${seen.size} tokens have ranks up to ${byRank.length - 1}`);
  for (let byte = 0; byte < 256; byte++) {
    if (!seen.has(byteLevelText(Uint8Array.of(byte)))) throw fault(lines.length - 1, `no token for the byte ${byte}`);
  }
  return new Map(byRank.map((token, rank) => [token, rank]));
}

function atobOr(base64: string, fault: () => ModelError): string {
  try {
    return atob(base64);
  } catch {
    throw fault();
  }
}

/**
 * Each token's last merge. tiktoken merges the neighbours whose joined token has the lowest rank; inside a token it does so as
 * if the token were a text of its own, so that one pair for each token is enough.
 */
function mergesOf(ranks: ReadonlyMap<string, number>): [string, string][] {
  const merges: [string, string][] = [];
  for (const [token, rank] of ranks) {
    const parts = token.split('');
    while (parts.length > 2) {
      let best = -1;
      let bestRank = rank;
      for (let at = 0; at + 1 < parts.length; at++) {
        const joined = ranks.get(parts[at]! + parts[at + 1]!);
        if (joined !== undefined && joined < bestRank) [best, bestRank] = [at, joined];
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best]! + parts[best + 1]!);
    }
    if (parts.length === 2) merges.push(parts as [string, string]);
  }
  return merges;
}

/** Tokens after the ranks: those that the config names, and others under the names that Kimi's code gives them. */
function specialTokens(
  first: number,
  named: Readonly<Record<string, { content: string; special?: boolean | null | undefined }>>,
): object[] {
  const ids = Object.keys(named).map(Number);
  const low = ids.find((id) => id < first);
  if (low !== undefined) {
    const key = `added_tokens_decoder.${low}`;
    throw new ModelError('contradiction', key, `tokenizer_config.json: ${key}: tiktoken.model has this id`);
  }
  const all = new Set(ids);
  for (let id = first; id < first + RESERVED_TOKENS; id++) all.add(id);
  return [...all]
    .sort((a, b) => a - b)
    .map((id) => ({
      id,
      content: named[id]?.content ?? `<|reserved_token_${id}|>`,
      special: named[id]?.special ?? true,
      normalized: false,
    }));
}

/** Up to the first item. Nothing in it may be long, so that looking for it takes a time in proportion to the file. */
const PATTERN_LIST = /\bpat_str\b[^=\n]{0,80}=\s{0,80}"\|"\s{0,80}\.join\(\s{0,80}\[\s{0,80}/g;
/** After an item: its comma, and the end of the list if it was the last. */
const AFTER_ITEM = /\s{0,80}(,?)\s{0,80}(\]?)/y;
const QUOTES = '"""';

/** `pat_str = "|".join([r"""…""", …])`, which is how these files write it. Nothing of the file is run. */
function patternOf({ path, text }: JsonText): string {
  const [list] = text.matchAll(PATTERN_LIST);
  const items: string[] = [];
  let at = list ? list.index + list[0].length : text.length;
  while (text.startsWith(`r${QUOTES}`, at)) {
    const begin = at + 1 + QUOTES.length;
    const end = text.indexOf(QUOTES, begin);
    if (end < 0) break;
    items.push(text.slice(begin, end));
    AFTER_ITEM.lastIndex = end + QUOTES.length;
    const [whole, comma, bracket] = AFTER_ITEM.exec(text)!;
    if (bracket) return items.join('|');
    // Without a comma Python takes two items for one.
    if (!comma) break;
    at = end + QUOTES.length + whole.length;
  }
  const message = `${path}: no pattern of the form pat_str = "|".join([r"""…""", …]), which says how texts are split`;
  throw new ModelError('unsupported', 'pat_str', `${message}: add a tokenizer.json to the model`);
}
