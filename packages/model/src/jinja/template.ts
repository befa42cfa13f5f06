import { parse, tokenize } from '@huggingface/jinja';
import { allowedSteps, withinSteps } from './budget.ts';
import { render, Scope } from './evaluate.ts';
import { GLOBALS } from './globals.ts';
import type { Node } from './syntax.ts';
import { asJinja } from './tokens.ts';
import { fromJs } from './value.ts';

/** The largest published one has 16,738; the library takes a time that is the square of a run of spaces, here at most 8 s. */
const MAX_CHARACTERS = 131_072;

/**
 * A chat template, rendered as transformers renders it (Jinja 3.1 in its immutable sandbox, with transformers' `tojson`,
 * `raise_exception` and `strftime_now`). The library reads the text; what it means is computed here, since the library's own
 * runtime has JavaScript's values: no difference between 1 and 1.0, no Python `str()`, macros that see their callers' variables.
 */
export class PythonTemplate {
  readonly #body: Node[];

  /** Throws if the source doesn't parse. */
  constructor(source: string) {
    if (source.length > MAX_CHARACTERS)
      throw new Error(`it has ${source.length} characters, more than the ${MAX_CHARACTERS} that are read`);
    // Blocks are trimmed as transformers asks of Jinja.
    const tokens = tokenize(withoutRaw(source.replace(/\r\n?/g, '\n')), { lstrip_blocks: true, trim_blocks: true });
    this.#body = (parse(asJinja(tokens) as typeof tokens) as unknown as Extract<Node, { type: 'Program' }>).body;
  }

  /**
   * Throws the template's own complaint, Python's, a RangeError for values that go too deep, or a TooManyStepsError if it takes
   * more than `maxSteps`, or more than can be honest.
   */
  render(values: Readonly<Record<string, unknown>>, maxSteps = Number.POSITIVE_INFINITY): string {
    const globals = new Scope();
    for (const [name, value] of Object.entries(GLOBALS)) globals.set(name, value);
    const scope = new Scope(globals);
    for (const [name, value] of Object.entries(values)) if (value !== undefined) scope.set(name, fromJs(value));
    return withinSteps(Math.min(maxSteps, allowedSteps(values)), () => render(this.#body, scope));
  }
}

/** The library doesn't know `{% raw %}`: what is inside becomes a literal, and the line end after the block goes as Jinja has it. */
function withoutRaw(source: string): string {
  return source.replace(
    /(?:^[ \t]*)?\{%(-?)\s*raw\s*(-?)%\}(.*?)\{%(-?)\s*endraw\s*(?:(-)%\}|%\}\n?)/gms,
    (_, before: string, trimStart: string, text: string, trimEnd: string, after = '') => {
      const start = trimStart ? text.trimStart() : text;
      const literal = JSON.stringify(trimEnd ? start.trimEnd() : start.replace(/\n[ \t]+$/, '\n'));
      return `{{${before}${literal}${after}}}`;
    },
  );
}
