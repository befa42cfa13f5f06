/**
 * What a rendering may take. A template comes with a model from strangers, and what it is given comes from clients: a
 * few loops within loops would take hours, and a few doublings of a text all memory. A step is about 0.1 µs on one core of
 * 2.5 GHz. Published templates take less than a quarter of what they are allowed, for each conversation that was tried, of up to
 * 3,001 messages or 900 tools.
 */
const ALLOWED = {
  /** Of any rendering: 0.1 s. */
  steps: 1_000_000,
  /** For each character that a template is given. Descriptions of tools, which some templates write anew, take the most. */
  perCharacter: 32,
  /** For each pair of messages: some templates look through all of them for each. */
  perPair: 64,
};

/** Characters that are copied or looked through in a step, and items of a list. */
const CHARACTERS_PER_STEP = 16;
const ITEMS_PER_STEP = 8;
/** A round of a loop, which makes its variables. */
export const ROUND_STEPS = 8;

/** A rendering takes more steps than it may. */
export class TooManyStepsError extends Error {
  constructor() {
    super('it takes too many steps, or makes too long a text');
    this.name = 'TooManyStepsError';
  }
}

/** Of the rendering under way, of which there is one at a time; an array, since its number is changed without making another. */
const left = Float64Array.of(Number.POSITIVE_INFINITY);

/** Runs `work`, and throws a TooManyStepsError as soon as it has spent more than `steps`. */
export function withinSteps<T>(steps: number, work: () => T): T {
  const before = left[0]!;
  left[0] = steps;
  try {
    return work();
  } finally {
    left[0] = before;
  }
}

export function spend(steps: number): void {
  left[0]! -= steps;
  if (left[0]! < 0) throw new TooManyStepsError();
}

/** For a text that is made or looked through; called before one is made that may be much longer than what it is made of. */
export const spendText = (characters: number): void => spend(characters / CHARACTERS_PER_STEP);
/** For a list that is made or gone through. */
export const spendItems = (items: number): void => spend(items / ITEMS_PER_STEP);

/** The texts as one. */
export function joinTexts(texts: readonly string[], separator = ''): string {
  spendText(texts.reduce((sum, text) => sum + text.length, separator.length * texts.length));
  return texts.join(separator);
}

/** `text` again and again. */
export function repeatText(text: string, count: number): string {
  spendText(text.length * Math.max(0, count));
  return text.repeat(Math.max(0, count));
}

/** The steps that a template may take with these values. */
export function allowedSteps(values: Readonly<Record<string, unknown>>): number {
  const { messages } = values;
  const pairs = Array.isArray(messages) ? messages.length ** 2 : 0;
  return ALLOWED.steps + ALLOWED.perCharacter * sizeOf(values) + ALLOWED.perPair * pairs;
}

/** About the characters of a value's JSON. */
function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 1;
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + sizeOf(item), 1);
  let size = 1;
  for (const [key, item] of value instanceof Map ? value : Object.entries(value)) size += sizeOf(key) + sizeOf(item);
  return size;
}
