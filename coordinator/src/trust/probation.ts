import { decodeF16, type Rng, type WorkItem, workItemOfRows } from '@shoal/model';
import { type RowFormat, roundRows } from '@shoal/protocol';
import type { LapClient } from '../laps/lap-client.ts';
import { PROBATION_ROWS } from './adaptive-replication.ts';
import type { Judge } from './judge.ts';
import type { PeerTrust } from './peer-trust.ts';
import type { ProbationRow, ProbationRows } from './probation-rows.ts';

/** Laps of probation have up to so many rows: what a batch of decoding sequences sends to one tab. */
const MAX_PROBATION_ROWS_PER_LAP = 8;
/** A tab that has just passed its self-test may still wait for a busy GPU. */
const PROBATION_LAP_DEADLINE_MS = 30_000;

export interface ProbationOptions {
  laps: Pick<LapClient, 'ask'>;
  judge: Judge;
  rows: ProbationRows;
  /** What the peer holds, tested: by layer. */
  held: ReadonlyMap<number, ReadonlySet<number>>;
  rng: Rng;
}

/**
 * A peer's first rows, in shadow: the same laps as in earnest, whose results are compared with the coordinator's own and
 * never used. Resolves to whether PROBATION_ROWS were right; the first wrong one ends it. Rejects with a LapError if the peer
 * doesn't answer, and with whatever keeps the coordinator from computing the rows itself.
 */
export async function runProbation(trust: PeerTrust, options: ProbationOptions): Promise<boolean> {
  const { laps, judge, held, rng } = options;
  const layers = [...held.keys()].filter((layer) => held.get(layer)!.size > 0);
  for (let passed = 0; passed < PROBATION_ROWS && layers.length > 0;) {
    const layer = layers[Math.floor(rng() * layers.length)]!;
    const numRows = Math.min(PROBATION_ROWS - passed, 1 + Math.floor(rng() * MAX_PROBATION_ROWS_PER_LAP));
    const rows = Array.from({ length: numRows }, () => options.rows.next(layer, held.get(layer)!, rng));
    const request = lapOf(layer, rows, trust.bounds.rowFormat);
    const answer = await laps.ask(request, { deadlineMs: PROBATION_LAP_DEADLINE_MS });
    const verdicts = await judge.rows(request, decodeF16(answer.partial), trust.bounds);
    for (const verdict of verdicts) {
      if (verdict === 'wrong') {
        trust.wrong();
        return false;
      }
      if (verdict === 'right') trust.right();
    }
    // What f16 cannot carry is no fault of the peer's, and would otherwise be asked for ever.
    passed += numRows;
  }
  trust.phase = 'trusted';
  return true;
}

function lapOf(layer: number, rows: readonly ProbationRow[], rowFormat: RowFormat): WorkItem {
  const request = workItemOfRows(layer, rows);
  // What the tab will compute with, so that it can be compared; in f16 the rows are that already.
  return rowFormat === 'f16'
    ? request
    : { ...request, rows: roundRows(rowFormat, decodeF16(request.rows), rows[0]!.row.length) };
}
