/** A JSON Schema as a client sends it. */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

/** What an answer must be, before it is compiled. */
export type GrammarSource =
  | { kind: 'json-object' }
  | { kind: 'json-schema'; schema: JsonSchema }
  | { kind: 'regex'; pattern: string }
  | { kind: 'choice'; choices: readonly string[] }
  /** In GBNF, as llama.cpp and xgrammar read it; the first rule is `root`. */
  | { kind: 'gbnf'; grammar: string }
  /** What one of several sources allows. */
  | { kind: 'either'; sources: readonly GrammarSource[] }
  /** One of several sequences; with `repeat` up to so many of them, one after the other with `separator` between. */
  | {
      kind: 'sequences';
      sequences: readonly (readonly GrammarPart[])[];
      repeat?: { most: number; separator: string; before?: string; after?: string };
    };

export type GrammarPart =
  /** A text as it is. */
  | string
  /** JSON that fits a schema. */
  | { schema: JsonSchema }
  /** One of these texts. */
  | { choice: readonly string[] }
  /** Any text up to and with the first occurrence of this one, which is not empty. */
  | { until: string }
  /** These parts or nothing. */
  | { optional: readonly GrammarPart[] };
