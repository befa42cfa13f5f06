/** What the form holds, as text, since that is what people type. */
export interface Form {
  prompt: string;
  temperature: string;
  topP: string;
  maxTokens: string;
  seed: string;
  /** One stop text a line, `\n` for a line break. */
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

/** OpenAI's own bound. */
const MAX_STOPS = 4;

/** The request, or what is wrong with the form by field; limits that only the server knows are left to it. */
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
  const temperature = read(
    'temperature',
    (v) => v >= 0 && v <= 2,
    'A number from 0 to 2; 0 always takes the likeliest.',
  );
  const topP = read('topP', (v) => v > 0 && v <= 1, 'A number above 0, at most 1.');
  const maxTokens = read('maxTokens', (v) => Number.isInteger(v) && v >= 1, 'A whole number from 1.');
  const seed = form.seed.trim() === '' ? undefined : read('seed', Number.isSafeInteger, 'A whole number, or nothing.');
  const stop = form.stop
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.replaceAll('\\n', '\n'));
  if (stop.length > MAX_STOPS) errors.stop = `At most ${MAX_STOPS} lines.`;
  if (form.prompt === '') errors.prompt = 'Write something to begin from.';
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
