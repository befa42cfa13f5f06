import { chooseDepths } from '../../../coordinator/src/scheduler/speculation/depth.ts';
import type { Workload } from './texts.ts';

/** Drafts, and the probability that those up to each depth (from 1) are all right. */
export interface Proposal {
  drafts: readonly number[];
  reach: (depth: number) => number;
}

/** A way to draft from texts. */
export interface Drafting {
  /** Begins a request; `ids` is its prompt, and grows with its answer. */
  begin(ids: readonly number[]): {
    propose(count: number): Proposal | undefined;
    /** Told how many drafts of the last proposal were verified and were right. */
    judge(drafted: number, accepted: number): void;
    /** Told that the answer is whole. */
    end(): void;
  };
}

/** What a pass costs without drafts, and what one more row does. */
export interface PassCost {
  passMs: number;
  msPerRow: number;
}

export interface Replay {
  tokens: number;
  passes: number;
  rows: number;
  /** Drafts that were right. */
  accepted: number;
  /** Time that drafting took. */
  draftingMs: number;
}

/** Has the answers of a workload drafted and verified as the scheduler does it, against their known texts. */
export function replay({ requests }: Workload, drafting: Drafting, maxDrafts: number, cost: PassCost): Replay {
  const done: Replay = { tokens: 0, passes: 0, rows: 0, accepted: 0, draftingMs: 0 };
  const timed = <T>(work: () => T): T => {
    const startedMs = performance.now();
    const result = work();
    done.draftingMs += performance.now() - startedMs;
    return result;
  };
  for (const { promptIds, answerIds } of requests) {
    const ids = [...promptIds];
    const stream = timed(() => drafting.begin(ids));
    // The prompt's pass gives the first token.
    ids.push(answerIds[0]!);
    while (ids.length < promptIds.length + answerIds.length) {
      const at = ids.length - promptIds.length;
      const most = Math.min(maxDrafts, answerIds.length - at - 1);
      const proposal = most > 0 ? timed(() => stream.propose(most)) : undefined;
      const depth = proposal ? depthOf(proposal, cost) : 0;
      let accepted = 0;
      while (accepted < depth && proposal!.drafts[accepted] === answerIds[at + accepted]) accepted++;
      if (proposal) timed(() => stream.judge(depth, accepted));
      ids.push(...answerIds.slice(at, at + accepted + 1));
      done.passes++;
      done.rows += 1 + depth;
      done.accepted += accepted;
      done.tokens += accepted + 1;
    }
    timed(() => stream.end());
  }
  return done;
}

function depthOf({ drafts, reach }: Proposal, cost: PassCost): number {
  const found = { maxDrafts: drafts.length, isDrafted: true, reach };
  return chooseDepths([found], { ...cost, callMs: () => 0, msPerDraft: () => 0 }).depths[0]!;
}
