/** A piece of an answer, told apart by what it is. */
export type OutputEvent =
  | { type: 'content'; text: string }
  | { type: 'reasoning'; text: string }
  /** A tool call begins; calls count from 0. `id` is set where the model writes one itself. */
  | { type: 'call'; index: number; name: string; id?: string }
  /** A piece of a call's arguments; the pieces together are JSON, unless the answer was cut off. */
  | { type: 'arguments'; index: number; text: string }
  /** The latest call is not whole: the answer ended in it (`isCut`), or it is not in its form. `text` is all that was written of it. */
  | { type: 'broken'; index: number; text: string; isCut: boolean };

/** Tells the parts of one answer apart while it is generated. Never throws: what it cannot parse is content. */
export interface OutputParser {
  /** The next piece of the answer's text. A special token comes as a piece of its own. */
  push(text: string, isSpecial: boolean): OutputEvent[];
  /** The answer has ended; what was held back. */
  finish(): OutputEvent[];
}

/** A function that a model may call, as OpenAI's chat API describes it. */
export interface Tool {
  name: string;
  description?: string | undefined;
  /** A JSON Schema of an object; undefined: no arguments. */
  parameters?: Record<string, unknown> | undefined;
  strict?: boolean | undefined;
}
