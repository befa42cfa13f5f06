/** Keys of tools under which a JSON Schema is that templates print. */
const SCHEMA_KEYS: ReadonlySet<string> = new Set(['parameters', 'input_schema']);
const TOKEN = /[{}[\],:]|"[^"\\]*(?:\\.[^"\\]*)*"|[-+.\w]+/gs;
/** A key that JavaScript puts before all others, in the order of numbers. */
const INDEX_KEY = /^"(?:0|[1-9]\d*)"$/;

const texts = new WeakMap<object, string>();

/**
 * The JSON text of a tool's schema as it was sent, where JavaScript's values have lost what Python keeps and templates print: 1.0,
 * whole numbers beyond 2⁵³, and the place of keys that are whole numbers. Undefined where nothing is lost.
 */
export function exactTextOf(schema: object): string | undefined {
  return texts.get(schema);
}

/** Notes the exact texts of the schemas in a body, of which `value` was parsed. `json` is valid, and bounded in depth. */
export function noteExactTexts(json: string, value: unknown): void {
  // Few bodies have a schema, and fewer a number that is lost.
  if (!/"(?:parameters|input_schema)"\s*:/.test(json)) return;
  if (!/\d\.\d*0|\d[eE]|\d{16}|"\d+"\s*:/.test(json)) return;
  new Walk(json).value(value);
}

/** Goes through a text and what was made of it. */
class Walk {
  readonly #json: string;
  readonly #token = new RegExp(TOKEN);
  #lost = 0;

  constructor(json: string) {
    this.#json = json;
  }

  value(value: unknown): void {
    const token = this.#next();
    if (token === '{') this.#object(value);
    else if (token === '[') this.#array(value);
    else if (isLost(token)) this.#lost++;
  }

  #object(value: unknown): void {
    for (let token = this.#next(); token !== '}'; token = this.#next()) {
      if (token === ',') continue;
      if (INDEX_KEY.test(token)) this.#lost++;
      const key = JSON.parse(token) as string;
      this.#next();
      const [begin, before] = [this.#token.lastIndex, this.#lost];
      const child = (value as Record<string, unknown> | undefined)?.[key];
      this.value(child);
      if (this.#lost === before || !SCHEMA_KEYS.has(key) || typeof child !== 'object' || child === null) continue;
      texts.set(child, this.#json.slice(begin, this.#token.lastIndex).trim());
    }
  }

  #array(value: unknown): void {
    for (let at = 0; ;) {
      const before = this.#token.lastIndex;
      const token = this.#next();
      if (token === ']') return;
      if (token === ',') continue;
      this.#token.lastIndex = before;
      this.value((value as readonly unknown[] | undefined)?.[at++]);
    }
  }

  #next(): string {
    return this.#token.exec(this.#json)![0];
  }
}

function isLost(scalar: string): boolean {
  if (!/^-?\d/.test(scalar)) return false;
  const number = Number(scalar);
  return String(number) !== scalar || (Number.isInteger(number) && !Number.isSafeInteger(number));
}
