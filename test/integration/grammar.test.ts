import { join } from 'node:path';
import { createRng } from '@shoal/model';
import { loadTokenizer } from '@shoal/model/node';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, describe, expect, it } from 'vitest';
import { type GrammarError, Grammars, type JsonSchema, vocabularyOf } from '../../coordinator/src/grammar/index.ts';
import { randomWalk } from './constrained-walk.ts';
import { HOSTILE_SCHEMAS } from './hostile-schemas.ts';
import { SCHEMAS } from './schemas.ts';

const tokenizer = await loadTokenizer(join(import.meta.dirname, '../../models/tiny-stories'));
const vocabulary = vocabularyOf(tokenizer, tokenizer.vocabSize, [tokenizer.eosTokenId!]);
const grammars = new Grammars({ vocabulary, maxGrammars: 16 });
afterAll(() => grammars.close());

/** Answers to each schema. */
const WALKS = 3;

function validatorOf(schema: JsonSchema): (value: unknown) => string {
  const ajv = new Ajv2020({ strict: false, validateFormats: true });
  addFormats.default(ajv);
  const validate = ajv.compile(schema as object);
  return (value) => (validate(value) ? '' : ajv.errorsText(validate.errors));
}

async function faultsOf(schema: JsonSchema, index: number): Promise<string[]> {
  const validate = validatorOf(schema);
  const grammar = await grammars.compile({ kind: 'json-schema', schema });
  const faults: string[] = [];
  for (let walk = 0; walk < WALKS; walk++) {
    const constraint = grammar.open();
    const rng = createRng(1_000 * index + walk);
    // From short answers to those in which much is written.
    const text = await randomWalk(constraint, vocabulary, rng, { closeAfter: 4 ** (walk + 1), most: 2_000 });
    constraint.close();
    const fault = validate(JSON.parse(text));
    if (fault) faults.push(`${text}: ${fault}`);
  }
  return faults;
}

describe('answers held to JSON schemas', () => {
  it(`validate: ${WALKS} of each of ${SCHEMAS.length} schemas, drawn at random`, async () => {
    expect(SCHEMAS.length).toBeGreaterThanOrEqual(300);
    const faults: object[] = [];
    for (const [index, schema] of SCHEMAS.entries()) {
      try {
        const found = await faultsOf(schema, index);
        if (found.length > 0) faults.push({ schema: JSON.stringify(schema), found });
      } catch (thrown) {
        faults.push({ schema: JSON.stringify(schema), thrown: (thrown as Error).message });
      }
    }
    expect(faults).toEqual([]);
    expect(grammars.figures).toEqual({ grammars: 16, sessions: 0 });
  });

  it('are those that other validators take too, in draft 7', async () => {
    const schema = { type: 'array', items: [{ type: 'integer' }, { type: 'string' }], additionalItems: false };
    const validate = new Ajv({ strict: false }).compile(schema);
    const constraint = (await grammars.compile({ kind: 'json-schema', schema })).open();
    const text = await randomWalk(constraint, vocabulary, createRng(1), { closeAfter: 10, most: 200 });
    constraint.close();
    expect(validate(JSON.parse(text)), text).toBe(true);
  });
});

describe('hostile and unsupported schemas', () => {
  it.each(HOSTILE_SCHEMAS.map(([name, schema, message]) => ({ name, schema, message })))(
    'are refused by name: $name',
    async ({ schema, message }) => {
      const outcome = await grammars.compile({ kind: 'json-schema', schema }).catch((error: unknown) => error);
      expect(outcome).toMatchObject({ name: 'GrammarError' });
      expect(['unsupported', 'too-large']).toContain((outcome as GrammarError).reason);
      expect((outcome as GrammarError).message).toContain(message);
    },
  );
});
