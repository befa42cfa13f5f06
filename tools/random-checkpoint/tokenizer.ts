import { createRng } from '@shoal/model';

export interface TokenizerFiles {
  tokenizerJson: unknown;
  tokenizerConfigJson: unknown;
}

/** Maximum length of a merged token. */
const MAX_TOKEN_CHARS = 12;

/**
 * Makes a valid byte-level BPE tokenizer of `vocabSize` tokens: the 256 bytes, so that any text can be encoded, then
 * random pairs of printable tokens. The first of `specialIds` begins and the last ends a text.
 */
export function randomTokenizer(vocabSize: number, specialIds: readonly number[], seed: number): TokenizerFiles {
  const rng = createRng(seed);
  const special = new Map(specialIds.map((id) => [id, `<|special_${id}|>`]));
  const vocab: Record<string, number> = {};
  const merges: string[] = [];
  const printable: string[] = [];
  const known = new Set<string>();
  let nextId = 0;
  const add = (token: string): void => {
    while (special.has(nextId)) nextId++;
    vocab[token] = nextId++;
    known.add(token);
  };
  for (const char of byteCharacters()) {
    add(char);
    if (/[a-z\u0120]/.test(char)) printable.push(char);
  }
  const pick = (): string => printable[Math.floor(rng() * printable.length)]!;
  const free = vocabSize - special.size;
  while (known.size < free) {
    const [left, right] = [pick(), pick()];
    const token = left + right;
    // As in trained vocabularies, a space only begins a word.
    if (token.length > MAX_TOKEN_CHARS || right.includes('\u0120') || known.has(token)) continue;
    add(token);
    merges.push(`${left} ${right}`);
    printable.push(token);
  }
  return files(vocab, merges, special);
}

function files(vocab: Record<string, number>, merges: string[], special: Map<number, string>): TokenizerFiles {
  const names = [...special.values()];
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  for (const [id, content] of special) vocab[content] = id;
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    tokenizerJson: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [...special].map(([id, content]) => ({ id, content, ...plain })),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: { ...byteLevel, add_prefix_space: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges,
      },
    },
    tokenizerConfigJson: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: names[0],
      eos_token: names.at(-1),
      add_bos_token: true,
      chat_template: "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}",
    },
  };
}

/** GPT-2's characters of the 256 bytes, by byte. */
function byteCharacters(): string[] {
  const isPrintable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(isPrintable(b) ? b : next++));
}
