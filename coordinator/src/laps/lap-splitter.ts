import {
  type ExpertAdapter,
  type LimitedChoice,
  limitDevices,
  rowsOfAssignments,
  type RowWork,
  type WorkItem,
} from '@shoal/model';
import { coverRows } from '@shoal/placement';
import { MAX_ASSIGNMENTS_PER_LAP, MAX_ROWS_PER_LAP } from '@shoal/protocol';
import { assignmentNeeds, type LayerWork, type Need } from './assignment-needs.ts';
import type { LapClient } from './lap-client.ts';

/** A peer as the dispatcher sees it. */
export interface LapPeer {
  readonly peerId: string;
  readonly laps: LapClient;
  /** Whether it takes work and has a tested replica of the expert. */
  serves(layer: number, expert: number): boolean;
  /** What adapters add on it; undefined if it knows none. */
  readonly adapters?: AdapterHolder | undefined;
  /** Credits tokens that it has just worked for, each once per pass. */
  helped(tokens: number): void;
  /** Whether its answer ([numRows, hiddenSize], finite) may enter a sum, as far as can be told without computing it. */
  accepts(item: WorkItem, partial: Float32Array): boolean;
  /** Rows that it may be given now. Further ones would be used before anybody has looked at these. */
  readonly rowsAhead: number;
  /** False once it was found to give wrong results. */
  readonly believed: boolean;
}

/** The adapters on a peer. */
export interface AdapterHolder {
  /** Whether laps may name it. */
  serves(adapter: ExpertAdapter): boolean;
  /** A row would be computed there if it held it. */
  want(adapter: ExpertAdapter): void;
}

/**
 * A tab that would first rest for longer, by its donor's limit, is asked for nothing: the coordinator is faster. Well below the
 * time after which that stands in for any tab, so that nobody who keeps a limit counts as late.
 */
const MAX_REST_WAIT_MS = 250;

/** What one peer (or, with null, the coordinator) computes of a call. */
export interface Part {
  peer: LapPeer | null;
  /** Indices into the assignments of the call's rows, ascending. */
  assignments: number[];
}

/** How many of these assignments belong to the first `most` rows among them, and how many rows that are. */
function firstRows(work: RowWork, assignments: readonly number[], most: number): { count: number; rows: number } {
  let rows = 0;
  let last = -1;
  for (const [count, row] of rowsOfAssignments(work, assignments).entries()) {
    if (row !== last && rows >= most) return { count, rows };
    if (row !== last) rows++;
    last = row;
  }
  return { count: assignments.length, rows };
}

const servesNeed = (peer: LapPeer, layer: number, { expert, adapters }: Need): boolean =>
  peer.serves(layer, expert) && adapters.every((adapter) => peer.adapters?.serves(adapter));

/**
 * Gives the rows that a peer may not be given yet to others that serve all of its experts, and else to the coordinator. A row's
 * experts stay together, since how they are grouped decides its rounding.
 *
 * @param ahead rows that each peer may be given; what is given is taken from it
 * @param servesAll whether a peer could compute these assignments
 */
function withinTrust(
  work: LayerWork,
  { peer, assignments }: Part,
  ahead: Map<LapPeer, number>,
  servesAll: (other: LapPeer, assignments: readonly number[]) => boolean,
): Part[] {
  const parts: Part[] = [];
  let left = assignments;
  const give = (to: LapPeer): void => {
    const { count, rows } = firstRows(work, left, ahead.get(to)!);
    if (count > 0) parts.push({ peer: to, assignments: left.slice(0, count) });
    ahead.set(to, ahead.get(to)! - rows);
    left = left.slice(count);
  };
  if (peer === null) return [{ peer, assignments }];
  give(peer);
  if (left.length === 0) return parts;
  for (const other of ahead.keys()) {
    if (other !== peer && servesAll(other, assignments)) give(other);
    if (left.length === 0) return parts;
  }
  return [...parts, { peer: null, assignments: left }];
}

/** Splits calls among the peers that serve their experts now. */
export class LapSplitter {
  readonly #peers: () => Iterable<LapPeer>;
  /** By layer, so that a layer's turns don't depend on the number of layers. */
  readonly #turns = new Map<number, number>();

  /** `peers`: those that may be asked now, in a stable order. */
  constructor(peers: () => Iterable<LapPeer>) {
    this.#peers = peers;
  }

  /**
   * Splits these assignments over few peers, none of which is in `tried`. Where adapters add to one, its peer must hold both; where
   * none does, the coordinator computes it, and peers that have the expert are to fetch what they lack.
   */
  split(work: LayerWork, assignments: readonly number[], tried: ReadonlySet<LapPeer>): Part[] {
    const { needs, needOf } = assignmentNeeds(work, assignments);
    const rows = rowsOfAssignments(work, assignments);
    const { peers, holders } = this.#candidates(work.layer, needs, tried);
    const turn = (this.#turns.get(work.layer) ?? 0) + 1;
    this.#turns.set(work.layer, turn);
    const usualMs = peers.map((peer) => peer.laps.lapMs.quantile(0.5) ?? 0);
    const expected = peers.map((peer) => peer.laps.expected);
    const chosen = coverRows(needOf, rows, {
      holders: (need) => holders[need]!,
      usualMs: (i) => usualMs[i]!,
      expected: (i) => expected[i]!,
      // In turns, so that the figures of all replicas stay fresh.
      preference: (i) => (i + turn) % peers.length,
    });
    const parts = new Map<number, Part>();
    for (const [i, candidate] of chosen.entries()) {
      if (candidate < 0) this.#want(work.layer, needs[needOf[i]!]!, tried);
      const part = parts.get(candidate);
      if (part) part.assignments.push(assignments[i]!);
      else parts.set(candidate, { peer: peers[candidate] ?? null, assignments: [assignments[i]!] });
    }
    // In the placement's order: the sum must not depend on the order of answers.
    const inOrder = [...parts.entries()].sort(([a], [b]) => a - b).map(([, part]) => part);
    const ahead = new Map(peers.map((peer) => [peer, peer.rowsAhead]));
    const servesAll = (peer: LapPeer, of: readonly number[]): boolean =>
      assignmentNeeds(work, of).needs.every((need) => servesNeed(peer, work.layer, need));
    return inOrder.flatMap((part) => withinTrust(work, part, ahead, servesAll));
  }

  #want(layer: number, { expert, adapters }: Need, tried: ReadonlySet<LapPeer>): void {
    if (adapters.length === 0) return;
    for (const peer of this.#peers()) {
      if (tried.has(peer) || !peer.adapters || !peer.serves(layer, expert)) continue;
      for (const adapter of adapters) peer.adapters.want(adapter);
    }
  }

  /** The experts that DeepSeek-V2's device-limited routing chooses, over the peers that serve the layer now. */
  limited(
    layer: number,
    limits: { maxPeers: number; numExpertsPerTok: number },
    scores: Float32Array,
    allowed: readonly number[],
  ): LimitedChoice {
    const needs = allowed.map((expert): Need => ({ expert, adapters: [] }));
    const { holders } = this.#candidates(layer, needs, new Set());
    const ofExpert = new Map(allowed.map((expert, i) => [expert, holders[i]!]));
    return limitDevices(scores, limits.numExpertsPerTok, {
      maxPeers: limits.maxPeers,
      holders: (expert) => ofExpert.get(expert) ?? [],
      allowed: (expert) => ofExpert.has(expert),
    });
  }

  /** The peers that serve some of these needs, and for each need the positions of those that do. */
  #candidates(layer: number, needs: readonly Need[], tried: ReadonlySet<LapPeer>) {
    const peers: LapPeer[] = [];
    const holders: number[][] = needs.map(() => []);
    for (const peer of this.#peers()) {
      if (tried.has(peer) || peer.laps.restMs > MAX_REST_WAIT_MS) continue;
      const served = [...needs.keys()].filter((i) => servesNeed(peer, layer, needs[i]!));
      for (const i of served) holders[i]!.push(peers.length);
      if (served.length > 0) peers.push(peer);
    }
    return { peers, holders };
  }
}

/** Cuts a part into pieces that fit into one frame. A row is only cut if it alone has more assignments than a frame. */
export function inFrames(work: RowWork, { peer, assignments }: Part): Part[] {
  const rows = rowsOfAssignments(work, assignments);
  const pieces: Part[] = [];
  let rowsHere = 0;
  for (let from = 0, to = 0; from < assignments.length; from = to) {
    while (to < assignments.length && rows[to] === rows[from] && to - from < MAX_ASSIGNMENTS_PER_LAP) to++;
    const here = pieces.at(-1)?.assignments;
    const own = assignments.slice(from, to);
    if (here && rowsHere < MAX_ROWS_PER_LAP && here.length + own.length <= MAX_ASSIGNMENTS_PER_LAP) {
      here.push(...own);
      rowsHere++;
    } else {
      pieces.push({ peer, assignments: own });
      rowsHere = 1;
    }
  }
  return pieces;
}
