import { performance } from 'node:perf_hooks';
import { answerSchemas, WAYS } from '../integration/schema-answers.ts';
import { SCHEMAS } from '../integration/schemas.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { formatTable } from './table.ts';

/**
 * Has the default model answer to all schemas of the tests, greedy and at temperature 2, with drafts and without, alone and beside 16
 * others, and validates every answer with ajv. Throws if one does not fit.
 */
export async function benchSchemaAnswers({ json }: { json: boolean }): Promise<void> {
  const coordinator = await startTinyCoordinator();
  const rows: object[] = [];
  const faults: string[] = [];
  try {
    for (const beside of [1, 17]) {
      for (const way of WAYS) {
        const began = performance.now();
        const { complete, cut, faults: found } = await answerSchemas(coordinator, () => [way], beside);
        faults.push(...found);
        const seconds = (performance.now() - began) / 1000;
        rows.push({ ...way, requests: beside, complete, cut, wrong: found.length, seconds });
        process.stderr.write(`${JSON.stringify(rows.at(-1))}\n`);
      }
    }
  } finally {
    await coordinator.close();
  }
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  process.stdout.write(json ? `${JSON.stringify(rows)}\n` : `${report(rows)}\n`);
  if (faults.length > 0) throw new Error(`${faults.length} answers do not fit their schemas`);
}

function report(rows: readonly object[]): string {
  const names = Object.keys(rows[0]!);
  const cells = rows.map((row) =>
    Object.values(row).map((value) => (typeof value === 'number' ? String(Math.round(value)) : String(value))),
  );
  return `answers to ${SCHEMAS.length} schemas, validated with ajv\n\n${formatTable([names, ...cells])}`;
}
