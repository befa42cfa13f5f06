import { z } from 'zod';
import { byteLevelText } from './byte-level.ts';
import { ModelError } from './errors.ts';
import type { JsonText } from './json-file.ts';

/** Far above any published vocabulary. */
const MAX_RANKS = 1 << 20;
/** The longest published token is 128 spaces; splitting one takes a time that is the square of its length. */
export const MAX_TOKEN_BYTES = 256;
/** Ids after the ranks that Kimi's tokenizers keep for special tokens. */
const RESERVED_TOKENS = 256;
/** Those that Hunyuan's have, in the order of their ids, and how many `<|extra_N|>` after them. */
const HUNYUAN_TOKENS = ['<|endoftext|>', '<|startoftext|>', '<|bos|>', '<|eos|>', '<|pad|>'];
const HUNYUAN_EXTRAS = 205;

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

/** How Hunyuan's split one. */
const HUNYUAN_PATTERN = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** What the code of a kind of tokenizers does, where the files beside it don't say. */
interface TiktokenKind {
  /** Whether ranks are the order of the file's lines, of which repeated ones don't count, whatever number they have. */
  ranksByOrder: boolean;
  /** Where the Python file doesn't say it. */
  pattern: string;
  patternOf(source: JsonText): string;
  normalizer: object | null;
  /** Special tokens by id, after the ranks. */
  specialTokens(first: number): ReadonlyMap<number, string>;
}

/** By the name of the file: what Kimi and Moonlight publish, and Hunyuan-A13B. */
const KINDS: Readonly<Record<string, TiktokenKind>> = {
  'tiktoken.model': {
    ranksByOrder: false,
    pattern: KIMI_PATTERN,
    patternOf: joinedPattern,
    normalizer: null,
    specialTokens: (first) => numbered(first, RESERVED_TOKENS, (_at, id) => `<|reserved_token_${id}|>`),
  },
  'hy.tiktoken': {
    ranksByOrder: true,
    pattern: HUNYUAN_PATTERN,
    patternOf: plainPattern,
    normalizer: { type: 'NFC' },
    specialTokens: (first) =>
      numbered(
        first,
        HUNYUAN_TOKENS.length + HUNYUAN_EXTRAS,
        (at) => HUNYUAN_TOKENS[at] ?? `<|extra_${at - HUNYUAN_TOKENS.length}|>`,
      ),
  },
};

/** Names of the files that are read where a model has no `tokenizer.json`. */
export const TIKTOKEN_FILES: readonly string[] = Object.keys(KINDS);

function numbered(first: number, count: number, nameOf: (at: number, id: number) => string): Map<number, string> {
  return new Map(Array.from({ length: count }, (_, at) => [first + at, nameOf(at, first + at)]));
}

/** The Python file, beside the model, that has the tokenizer's code; undefined if the config names none. */
export function tokenizerSource(configJson: unknown): string | undefined {
  const name = configSchema.safeParse(configJson).data?.auto_map?.AutoTokenizer.find((one) => one !== null);
  return /^(\w{1,64})\.\w+$/.exec(name ?? '')?.[1]?.concat('.py');
}

/**
 * What `tokenizer.json` would be for a file of `TIKTOKEN_FILES`, which some publish instead: lines of a token in base64 and its
 * rank. `source` is the text of the tokenizer's Python file, of which only the pattern for words is read. Throws a ModelError
 * naming the file and the line.
 */
export function fromTiktoken(file: string, model: JsonText, configJson: unknown, source: JsonText | undefined): object {
  const kind = KINDS[file];
  if (!kind) throw new TypeError(`${file} is none of ${TIKTOKEN_FILES.join(', ')}`);
  const ranks = readRanks(file, model, kind);
  const config = configSchema.safeParse(configJson);
  if (!config.success) {
    const { path, message } = config.error.issues[0]!;
    throw new ModelError('bad-tokenizer', path.join('.'), `tokenizer_config.json: ${path.join('.')}: ${message}`);
  }
  const pattern = source ? kind.patternOf(source) : kind.pattern;
  const split = { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false };
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };
  return {
    normalizer: kind.normalizer,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split, bytes] },
    // tiktoken looks a whole word up before it merges, so tokens that no merges make occur too.
    model: { type: 'BPE', vocab: Object.fromEntries(ranks), merges: mergesOf(ranks), ignore_merges: true },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    added_tokens: specialTokens(file, kind.specialTokens(ranks.size), config.data.added_tokens_decoder ?? {}),
  };
}

/** Tokens in byte-level characters, in the order of their ranks. */
function readRanks(file: string, { path, text }: JsonText, { ranksByOrder }: TiktokenKind): Map<string, number> {
  const fault = (line: number, what: string): ModelError =>
    new ModelError('bad-tokenizer', file, `${path}: line ${line + 1}: ${what}`);
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
    if (ranksByOrder && seen.has(token)) continue;
    const rank = ranksByOrder ? seen.size : Number(parsed[2]);
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

/** Tokens after the ranks, those that the config names under its names. */
function specialTokens(
  file: string,
  usual: ReadonlyMap<number, string>,
  named: Readonly<Record<string, { content: string; special?: boolean | null | undefined }>>,
): object[] {
  const [first] = usual.keys();
  const ids = Object.keys(named).map(Number);
  const low = ids.find((id) => id < first!);
  if (low !== undefined) {
    const key = `added_tokens_decoder.${low}`;
    throw new ModelError('contradiction', key, `tokenizer_config.json: ${key}: ${file} has this id`);
  }
  return [...new Set([...ids, ...usual.keys()])]
    .sort((a, b) => a - b)
    .map((id) => ({
      id,
      content: named[id]?.content ?? usual.get(id),
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
function joinedPattern({ path, text }: JsonText): string {
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
  throw noPattern(path, `pat_str = "|".join([r"""…""", …])`);
}

const PLAIN_PATTERN = /^PAT_STR\s{0,80}=\s{0,80}r"""/m;

/** `PAT_STR = r"""…"""`, at the beginning of a line. */
function plainPattern({ path, text }: JsonText): string {
  const found = PLAIN_PATTERN.exec(text);
  const begin = found ? found.index + found[0].length : -1;
  const end = found ? text.indexOf(QUOTES, begin) : -1;
  if (end > begin) return text.slice(begin, end);
  throw noPattern(path, 'PAT_STR = r"""…"""');
}

function noPattern(path: string, form: string): ModelError {
  const message = `${path}: no pattern of the form ${form}, which says how texts are split`;
  return new ModelError('unsupported', 'pat_str', `${message}: add a tokenizer.json to the model`);
}
