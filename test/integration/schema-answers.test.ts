import { expect, it } from 'vitest';
import { answerSchemas, WAYS } from './schema-answers.ts';
import { SCHEMAS } from './schemas.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

/** Requests at a time: each answer is one beside 16 others. */
const BESIDE = 17;

it('the model’s answers fit their schemas, greedy and hot, with drafts and without', { timeout: 240_000 }, async () => {
  const coordinator = await startTinyCoordinator();
  try {
    // Each schema in one of the ways; `npm run bench grammar` takes all of them.
    const { complete, cut, faults, drafted } = await answerSchemas(
      coordinator,
      (index) => [WAYS[index % WAYS.length]!],
      BESIDE,
    );
    expect(faults).toEqual([]);
    expect(complete + cut).toBe(SCHEMAS.length);
    // A model that wanders in a string until the context ends is no fault of the grammar's.
    expect(complete).toBeGreaterThan(0.75 * SCHEMAS.length);
    expect(drafted).toBeGreaterThan(0);
  } finally {
    await coordinator.close();
  }
});
