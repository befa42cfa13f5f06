import { expect, it } from 'vitest';
import { answerSchemas, type Way, WAYS } from './schema-answers.ts';
import { SCHEMAS } from './schemas.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

/** Requests at a time: each answer is one beside 16 others. */
const BESIDE = 17;

/** Every third schema, each in one of the ways; `npm run bench schemas` asks for all in all of them. */
const waysOf = (index: number): Way[] => (index % 3 === 0 ? [WAYS[(index / 3) % WAYS.length]!] : []);

it('the model’s answers fit their schemas, greedy and hot, with drafts and without', { timeout: 240_000 }, async () => {
  const coordinator = await startTinyCoordinator();
  try {
    const { complete, cut, faults, drafted } = await answerSchemas(coordinator, waysOf, BESIDE);
    expect(faults).toEqual([]);
    const asked = SCHEMAS.filter((_, index) => waysOf(index).length > 0).length;
    expect(complete + cut).toBe(asked);
    // A model that wanders in a string until the context ends is no fault of the grammar's.
    expect(complete).toBeGreaterThan(0.75 * asked);
    expect(drafted).toBeGreaterThan(0);
  } finally {
    await coordinator.close();
  }
});
