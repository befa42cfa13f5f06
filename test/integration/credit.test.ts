import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { churn, disagreeing } from '../credit-churn.ts';

it('credit is the same on the page, in the console and in the database after churn and a restart', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'shoal-credit-'));
  try {
    const result = await churn({ dataDir, donors: 4, seconds: 3, restarts: 1, seed: 17 });
    expect(disagreeing(result.credits)).toEqual([]);
    expect(result.credits).toHaveLength(2 * 4);
    expect(result.credited).toBeGreaterThan(0);
    expect(result.credited).toBeLessThanOrEqual(result.helped);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
