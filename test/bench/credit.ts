import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { churn, disagreeing } from '../credit-churn.ts';

const DONORS = 12;
const RESTARTS = 2;

/** Whether credit is the same on the page, in the console and in the database, to the row, after churn and two restarts. */
export async function benchCredit({ json, seconds }: { json: boolean; seconds: number }): Promise<boolean> {
  const dataDir = mkdtempSync(join(tmpdir(), 'shoal-credit-'));
  try {
    const onRound = (text: string): void => void process.stderr.write(`${text}\n`);
    const result = await churn({ dataDir, donors: DONORS, seconds, restarts: RESTARTS, seed: 17, onRound });
    const { credits, ...counts } = result;
    const wrong = disagreeing(credits);
    const report = { seconds, ...counts, compared: credits.length, disagreeing: wrong };
    if (json) process.stdout.write(`${JSON.stringify(report)}\n`);
    else {
      process.stdout.write(
        `${counts.answers} answers, ${counts.joins} joins, ${counts.crashes} crashes, ${RESTARTS} restarts\n`,
      );
      process.stdout.write(`${counts.credited} of ${counts.helped} tokens were confirmed and credited\n`);
      process.stdout.write(`${credits.length} accounts compared, ${wrong.length} not the same everywhere\n`);
      for (const one of wrong) process.stdout.write(`${JSON.stringify(one)}\n`);
    }
    return wrong.length === 0;
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}
