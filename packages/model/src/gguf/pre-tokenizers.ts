// How a text is split into words before byte-pair merges, by the name in `tokenizer.ggml.pre` (llama.cpp, llama-vocab.cpp). A name
// stands for the tokenizer.json that the converter recognised, whose published pattern is given here, not llama.cpp's adaptation
// of it to its own matcher.

export interface PreTokenizer {
  /** Applied one after another, each to the parts that the ones before it made; 'gpt-2' is the library's own pattern. */
  patterns: readonly string[] | 'gpt-2';
  /** Whether a word that is a token is that token, whatever merges say. */
  ignoreMerges: boolean;
  /** What holds where the file does not say. */
  addBos: boolean;
  /** Whether the published tokenizer composes characters first (NFC), which GGUF does not record. */
  composes: boolean;
}

/** Contractions in either case; the published patterns write (?i:…), which this machine's matcher lacks. */
const CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;

/** tiktoken's cl100k, with digits in groups of up to `digits`. */
const cl100k = (digits: 1 | 3): string =>
  `${CONTRACTIONS}|${String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`}|${String.raw`\p{N}`}${digits === 1 ? '' : '{1,3}'}|` +
  `${String.raw` ?[^\s\p{L}\p{N}]+[\r\n]*`}|${SPACES}`;

const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const NOT_HAN = String.raw`(?!\p{Script=Han})`;

/** tiktoken's o200k: words begin with capitals and go on in small letters. `letter` makes one of the classes a part of a word. */
const o200k = (letter: (letters: string) => string, symbolEnd: string, alternatives = ''): string => {
  const [upper, lower] = [letter(UPPER), letter(LOWER)];
  const first = String.raw`[^\r\n\p{L}\p{N}]?`;
  return (
    `${alternatives}${first}${upper}*${lower}+${CONTRACTIONS}?|${first}${upper}+${lower}*${CONTRACTIONS}?|` +
    `${String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+`}${symbolEnd}|${SPACES}`
  );
};

const DEEPSEEK_V3: readonly string[] = [
  String.raw`\p{N}{1,3}`,
  String.raw`[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+`,
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|' +
    String.raw`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|` +
    SPACES,
];

/** DeepSeek-V2's list of the alphabets of Europe and their neighbours. */
const DEEPSEEK_LETTERS =
  'A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbe' +
  'ῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ' +
  '𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃';

const DEEPSEEK_LLM: readonly string[] = [
  String.raw`[\r\n]`,
  String.raw`\s?[${DEEPSEEK_LETTERS}]+`,
  String.raw`\s?[!-/:-~！-／：-～‘-‟\u3000-。]+`,
  String.raw`\s+$`,
  String.raw`[一-龥\u0800-一가-\ud7ff]+`,
  String.raw`\p{N}+`,
];

const DEEPSEEK_CODER: readonly string[] = [
  String.raw`[\r\n]`,
  String.raw`\s?\p{L}+`,
  String.raw`\s?\p{P}+`,
  String.raw`[一-龥\u0800-一가-\ud7ff]+`,
  String.raw`\p{N}`,
];

const split = (patterns: readonly string[], options: Partial<PreTokenizer> = {}): PreTokenizer => ({
  patterns,
  ignoreMerges: false,
  addBos: false,
  composes: false,
  ...options,
});
const gpt2: PreTokenizer = { patterns: 'gpt-2', ignoreMerges: false, addBos: false, composes: false };
const qwen2 = split([cl100k(1)], { composes: true });
const llama3 = split([cl100k(3)], { ignoreMerges: true, addBos: true });
const gpt4o = split([o200k((letters) => letters, String.raw`[\r\n/]*`)]);
/** Digits one by one, then GPT-2's words. */
const starcoder = split([
  String.raw`\p{N}`,
  String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`,
]);

export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map([
  ['gpt-2', gpt2],
  ['olmo', { ...gpt2, composes: true }],
  ['qwen2', qwen2],
  ['megrez', qwen2],
  ['hunyuan', qwen2],
  ['llama3', llama3],
  ['llama-v3', llama3],
  ['llama-bpe', llama3],
  ['dbrx', split([cl100k(3)])],
  ['smaug-bpe', split([cl100k(3)])],
  ['glm4', split([cl100k(3)])],
  ['chatglm-bpe', split([cl100k(3)])],
  ['gpt-4o', gpt4o],
  ['llama4', gpt4o],
  ['minimax-m2', gpt4o],
  [
    'kimi-k2',
    split([o200k((letters) => `(?:${NOT_HAN}${letters})`, String.raw`[\r\n]*`, String.raw`\p{Script=Han}+|`)]),
  ],
  ['deepseek-llm', split(DEEPSEEK_LLM)],
  ['deepseek-coder', split(DEEPSEEK_CODER)],
  ['deepseek-v3', split(DEEPSEEK_V3)],
  ['hunyuan-dense', split(DEEPSEEK_V3)],
  ['joyai-llm', split(DEEPSEEK_V3)],
  ['refact', starcoder],
  ['starcoder', starcoder],
  ['smollm', starcoder],
  ['command-r', starcoder],
]);
