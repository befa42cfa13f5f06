import type { ModelConfig, Tokenizer } from '@shoal/model';

/** What requests to an encoder–decoder are made of. */
export interface SourceModel {
  /** What answers begin with, before their first token. */
  targetPrefix: readonly number[];
  /** Tokens of the languages that a text may be translated from and to, by code; none where the model has no such tokens. */
  languages: ReadonlyMap<string, number>;
  /** Ends a source that begins with its language. */
  endOfSource: number;
}

/** The names of tokens that stand for a language, as FLORES-200 codes it. */
const LANGUAGE = /^[a-z]{3}_[A-Z][a-z]{3}$/;

/** What requests to the model are made of, where it is an encoder–decoder. */
export function sourceModel({
  config: { seq2seq, eosTokenIds },
  tokenizer,
}: {
  config: ModelConfig;
  tokenizer: Tokenizer;
}): SourceModel | undefined {
  if (!seq2seq) return undefined;
  const languages = [...tokenizer.specialTokenIds].flatMap((id): [string, number][] => {
    const text = tokenizer.tokenText(id) ?? '';
    return LANGUAGE.test(text) ? [[text, id]] : [];
  });
  return { targetPrefix: seq2seq.targetPrefix, languages: new Map(languages), endOfSource: eosTokenIds[0]! };
}
