import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { SCHEMAS } from './schemas.ts';

/** How the model answers to a schema. */
export interface Way {
  temperature: number;
  speculate: boolean;
}

export const WAYS: readonly Way[] = [0, 2].flatMap((temperature) => [
  { temperature, speculate: false },
  { temperature, speculate: true },
]);

/** What the model does not end by then is cut off. */
const MAX_TOKENS = 160;

export interface SchemaAnswers {
  /** Answers that are complete, and those that the context cut off. */
  complete: number;
  cut: number;
  faults: string[];
  drafted: number;
}

const validators = new Map<number, (value: unknown) => string>();

function validatorOf(index: number): (value: unknown) => string {
  let known = validators.get(index);
  if (!known) {
    const ajv = new Ajv2020({ strict: false, validateFormats: true });
    addFormats.default(ajv);
    const validate = ajv.compile(SCHEMAS[index] as object);
    known = (value) => (validate(value) ? '' : ajv.errorsText(validate.errors));
    validators.set(index, known);
  }
  return known;
}

/** Asks the model for an answer to each schema, in the ways that `waysOf` gives, with `beside` requests at a time. */
export async function answerSchemas(
  { url }: Coordinator,
  waysOf: (index: number) => readonly Way[],
  beside: number,
): Promise<SchemaAnswers> {
  const result: SchemaAnswers = { complete: 0, cut: 0, faults: [], drafted: 0 };
  const tasks = SCHEMAS.flatMap((_, index) => waysOf(index).map((way) => ({ index, way })));
  const work = async (): Promise<void> => {
    for (let task = tasks.shift(); task; task = tasks.shift()) await answerSchema(url, task.index, task.way, result);
  };
  await Promise.all(Array.from({ length: beside }, work));
  return result;
}

async function answerSchema(
  url: string,
  index: number,
  { temperature, speculate }: Way,
  result: SchemaAnswers,
): Promise<void> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      prompt: 'Once upon a time',
      max_tokens: MAX_TOKENS,
      temperature,
      top_p: 1,
      seed: index,
      guided_json: SCHEMAS[index],
      shoal: { speculate },
    }),
  });
  const body = (await response.json()) as {
    choices?: { text: string; finish_reason: string }[];
    usage?: { shoal?: { drafted?: number } };
  };
  const choice = body.choices?.[0];
  result.drafted += body.usage?.shoal?.drafted ?? 0;
  if (!choice) result.faults.push(`schema ${index}: ${response.status} ${JSON.stringify(body)}`);
  else if (choice.finish_reason === 'length') result.cut++;
  else {
    result.complete++;
    const fault = faultOf(index, choice.text);
    if (fault) result.faults.push(`schema ${index} (temperature ${temperature}): ${choice.text}: ${fault}`);
  }
}

function faultOf(index: number, text: string): string {
  try {
    return validatorOf(index)(JSON.parse(text));
  } catch (error) {
    return (error as Error).message;
  }
}
