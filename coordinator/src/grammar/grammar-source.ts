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
  /** What a source allows, after some parts. */
  | { kind: 'after'; parts: readonly GrammarPart[]; source: GrammarSource }
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
  /** One of these sequences. */
  | { either: readonly (readonly GrammarPart[])[] }
  /** A value that fits a schema, and what ends it. */
  | PlainValue
  /** Any text up to and with the first occurrence of this one, which is not empty. */
  | { until: string }
  /** These parts or nothing. */
  | { optional: readonly GrammarPart[] };

/** A value as it stands between tags: a string as it is, without quotes and escapes, and everything else as JSON. */
export interface PlainValue {
  value: JsonSchema;
  /** What stands before the value and after it; '' or a line end. */
  line: string;
  /** Ends the value; its first two characters are different. */
  close: string;
  /** What stands before `line` where the value is a string, and where it is not. */
  kinds?: { text: string; json: string } | undefined;
}
