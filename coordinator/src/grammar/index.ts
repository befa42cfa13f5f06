export { GrammarError, type GrammarErrorReason } from './grammar-error.ts';
export type { GrammarPart, GrammarSource, JsonSchema } from './grammar-source.ts';
export { type Grammar, type GrammarClient, Grammars, type GrammarsOptions, type OpenOptions } from './grammars.ts';
export { type Vocabulary, vocabularyFrom, vocabularyOf } from './vocabulary.ts';
