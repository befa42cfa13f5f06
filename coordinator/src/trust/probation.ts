import { type AssignedRow, readRows, type Rng, type WorkItem, workItemOfRows } from '@shoal/model';
import { itemRows, type RowFormat } from '@shoal/protocol';
import { LapError, rowsWithoutSum } from '../laps/lap.ts';
import type { LapClient } from '../laps/lap-client.ts';
import { PROBATION_ROWS } from './audit-share.ts';
import type { Judge } from './judge.ts';
import type { PeerTrust } from './peer-trust.ts';
import type { ProbationRows } from './probation-rows.ts';

/** As many rows as a batch of decoding sequences sends to one tab. */
const MAX_PROBATION_ROWS_PER_LAP = 8;
/** The tab's GPU may be busy. */
const PROBATION_LAP_DEADLINE_MS = 30_000;

export interface ProbationOptions {
  laps: Pick<LapClient, 'ask'>;
  judge: Judge;
  rows: ProbationRows;
  /** The peer's tested experts, by layer. */
  held: ReadonlyMap<number, ReadonlySet<number>>;
  rng: Rng;
}

/**
 * A new peer's first rows: ordinary laps whose results are compared with the coordinator's own and never used. Resolves to
 * whether PROBATION_ROWS rows were right; the first wrong row ends it. Rejects with a LapError if the peer doesn't answer
 * (`wrong` if it says that a row has no finite sum, which may be its driver's fault), and
 * with the cause if the coordinator cannot compute the rows.
 */
export async function runProbation(trust: PeerTrust, options: ProbationOptions): Promise<boolean> {
  const { laps, judge, held, rng } = options;
  const layers = [...held.keys()].filter((layer) => held.get(layer)!.size > 0);
  for (let passed = 0; passed < PROBATION_ROWS && layers.length > 0;) {
    const layer = layers[Math.floor(rng() * layers.length)]!;
    const numRows = Math.min(PROBATION_ROWS - passed, 1 + Math.floor(rng() * MAX_PROBATION_ROWS_PER_LAP));
    const rows = Array.from({ length: numRows }, () => options.rows.next(layer, held.get(layer)!, rng));
    const item = itemOf(layer, rows, trust.bounds.rowFormat);
    const answer = await laps.ask(item, { deadlineMs: PROBATION_LAP_DEADLINE_MS });
    const verdicts = await judge.rows(item, answer.partial, trust.bounds);
    const withheld = new Set(rowsWithoutSum(answer.partial, item.rows.length / numRows));
    for (const [row, verdict] of verdicts.entries()) {
      if (verdict === 'wrong' && withheld.has(row))
        throw new LapError('wrong', 'The tab found no finite sum of a row that has one.');
      if (verdict === 'wrong') {
        trust.wrong();
        return false;
      }
      if (verdict === 'right') trust.right();
    }
    // Incomparable rows count as well. They are not the peer's fault, and there may be no end of them.
    passed += numRows;
  }
  trust.phase = 'trusted';
  return true;
}

/** With rows rounded to the row format, as the tab will compute with them. */
function itemOf(layer: number, rows: readonly AssignedRow[], rowFormat: RowFormat): WorkItem {
  const item = workItemOfRows(layer, rows);
  if (rowFormat === 'f16') return item;
  const hiddenSize = rows[0]!.row.length;
  return { ...item, ...itemRows(rowFormat, readRows(item, hiddenSize), hiddenSize) };
}
