/** The form's fields, as text. */
export interface Form {
  prompt: string;
  temperature: string;
  topP: string;
  maxTokens: string;
  seed: string;
  /** One stop text per line, `\n` for a line break. */
  stop: string;
}

export interface CompletionBody {
  model: string;
  prompt: string;
  max_tokens: number;
  temperature: number;
  top_p: number;
  seed?: number;
  stop?: string[];
  stream: true;
  stream_options: { include_usage: true };
}

/** OpenAI's limit. */
const MAX_STOPS = 4;

/** Returns the request, or the form's errors by field. Limits that only the server knows are left to it. */
export function readForm(
  form: Form,
  model: string,
): { ok: true; body: CompletionBody } | { ok: false; errors: Partial<Record<keyof Form, string>> } {
  const errors: Partial<Record<keyof Form, string>> = {};
  const read = (field: keyof Form, good: (value: number) => boolean, complaint: string): number => {
    const value = form[field].trim() === '' ? Number.NaN : Number(form[field]);
    if (!good(value)) errors[field] = complaint;
    return value;
  };
  const temperature = read('temperature', (v) => v >= 0 && v <= 2, 'Enter a number from 0 to 2. 0 is deterministic.');
  const topP = read('topP', (v) => v > 0 && v <= 1, 'Enter a number above 0, up to 1.');
  const maxTokens = read('maxTokens', (v) => Number.isInteger(v) && v >= 1, 'Enter a whole number, 1 or more.');
  const hasSeed = form.seed.trim() !== '';
  const seed = hasSeed ? read('seed', Number.isSafeInteger, 'Enter a whole number, or leave this empty.') : undefined;
  const stop = form.stop
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll('\\n', '\n'));
  if (stop.length > MAX_STOPS) errors.stop = `Enter at most ${MAX_STOPS} lines.`;
  if (form.prompt === '') errors.prompt = 'Enter a prompt.';
  if (Object.keys(errors).length > 0) return { ok: false, errors };
  const body: CompletionBody = {
    model,
    prompt: form.prompt,
    max_tokens: maxTokens,
    temperature,
    top_p: topP,
    ...(seed === undefined ? {} : { seed }),
    ...(stop.length === 0 ? {} : { stop }),
    stream: true,
    stream_options: { include_usage: true },
  };
  return { ok: true, body };
}
