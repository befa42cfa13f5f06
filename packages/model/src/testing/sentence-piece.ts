const SPECIAL = ['<unk>', '<s>', '</s>'];
const BYTES = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
const CHARACTERS = ['▁', ...'abcdefghijklmnopqrstuvwxyzT.,é'];
const MERGES = [
  ['t', 'h'],
  ['th', 'e'],
  ['▁', 'the'],
  ['▁', 'a'],
  ['▁', '▁'],
  ['▁▁', '▁▁'],
] as const;

/** In the form of Mixtral's tokenizer.json. */
export const sentencePieceJson = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: SPECIAL.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  post_processor: null,
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: '<unk>',
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: true,
    vocab: Object.fromEntries(
      [...SPECIAL, ...BYTES, ...CHARACTERS, ...MERGES.map((pair) => pair.join(''))].map((token, id) => [token, id]),
    ),
    merges: MERGES.map((pair) => pair.join(' ')),
  },
};

export const SENTENCE_PIECE_CONFIG = { bos_token: '<s>', eos_token: '</s>', add_bos_token: true };
