import type { MoeCall, WorkItem } from '@shoal/model';
import { coverRows, type LimitedChoice, limitDevices } from '@shoal/placement';
import { MAX_ROWS_PER_LAP } from '@shoal/protocol';
import type { LapClient } from './lap-client.ts';

/** A peer as the dispatcher sees it. */
export interface LapPeer {
  readonly peerId: string;
  readonly laps: LapClient;
  /** Whether it takes work and has a tested replica of the expert. */
  serves(layer: number, expert: number): boolean;
  /** Credits tokens that it has just worked for, each once per pass. */
  helped(tokens: number): void;
  /** Whether its answer (f16 bits, [numRows, hiddenSize]) may enter a sum, as far as can be told without computing it. */
  accepts(item: WorkItem, partial: Uint16Array): boolean;
  /** False once it was found to give wrong results. */
  readonly believed: boolean;
}

/** What one peer (or, with null, the coordinator) computes of a call. */
export interface Part {
  peer: LapPeer | null;
  /** Indices into the call's [numRows × topK] assignments, ascending. */
  assignments: number[];
}

/** The row that one of the call's assignments belongs to. */
const rowOf = ({ topkIdx, numRows }: MoeCall, assignment: number): number =>
  Math.floor((assignment * numRows) / topkIdx.length);

/** Splits calls among the peers that serve their experts now. */
export class LapSplitter {
  readonly #peers: () => Iterable<LapPeer>;
  /** By layer, so that a layer's turns don't depend on the number of layers. */
  readonly #turns = new Map<number, number>();

  /** `peers`: those that may be asked now, in a stable order. */
  constructor(peers: () => Iterable<LapPeer>) {
    this.#peers = peers;
  }

  /** Splits these assignments over few peers, none of which is in `tried`. */
  split(call: MoeCall, assignments: readonly number[], tried: ReadonlySet<LapPeer>): Part[] {
    const experts = Uint16Array.from(assignments, (a) => call.topkIdx[a]!);
    const rows = Uint32Array.from(assignments, (a) => rowOf(call, a));
    const { peers, holders } = this.#candidates(call.layer, new Set(experts), tried);
    const turn = (this.#turns.get(call.layer) ?? 0) + 1;
    this.#turns.set(call.layer, turn);
    const usualMs = peers.map((peer) => peer.laps.lapMs.quantile(0.5) ?? 0);
    const expected = peers.map((peer) => peer.laps.expected);
    const chosen = coverRows(experts, rows, {
      holders: (expert) => holders.get(expert)!,
      usualMs: (i) => usualMs[i]!,
      expected: (i) => expected[i]!,
      // In turns, so that the figures of all replicas stay fresh.
      preference: (i) => (i + turn) % peers.length,
    });
    const parts = new Map<number, Part>();
    for (const [i, candidate] of chosen.entries()) {
      const part = parts.get(candidate);
      if (part) part.assignments.push(assignments[i]!);
      else parts.set(candidate, { peer: peers[candidate] ?? null, assignments: [assignments[i]!] });
    }
    // In the placement's order: the sum must not depend on the order of answers.
    return [...parts.entries()].sort(([a], [b]) => a - b).map(([, part]) => part);
  }

  /** The experts that DeepSeek-V2's device-limited routing chooses, over the peers that serve the layer now. */
  limited(
    layer: number,
    limits: { maxPeers: number; numExpertsPerTok: number },
    scores: Float32Array,
    allowed: readonly number[],
  ): LimitedChoice {
    const within = new Set(allowed);
    const { holders } = this.#candidates(layer, within, new Set());
    return limitDevices(scores, limits.numExpertsPerTok, {
      maxPeers: limits.maxPeers,
      holders: (expert) => holders.get(expert) ?? [],
      allowed: (expert) => within.has(expert),
    });
  }

  /** The peers that serve some of these experts, and for each expert the positions of those that do. */
  #candidates(layer: number, experts: ReadonlySet<number>, tried: ReadonlySet<LapPeer>) {
    const peers: LapPeer[] = [];
    const holders = new Map<number, number[]>([...experts].map((expert) => [expert, []]));
    for (const peer of this.#peers()) {
      if (tried.has(peer)) continue;
      const served = [...experts].filter((expert) => peer.serves(layer, expert));
      for (const expert of served) holders.get(expert)!.push(peers.length);
      if (served.length > 0) peers.push(peer);
    }
    return { peers, holders };
  }
}

/** Cuts a part into pieces whose rows fit into one frame. */
export function inFrames(call: MoeCall, part: Part): Part[] {
  const pieces: Part[] = [];
  let rowsHere = 0;
  let lastRow = -1;
  for (const a of part.assignments) {
    const row = rowOf(call, a);
    if (row !== lastRow) rowsHere++;
    lastRow = row;
    if (pieces.length === 0 || rowsHere > MAX_ROWS_PER_LAP) {
      pieces.push({ peer: part.peer, assignments: [] });
      rowsHere = 1;
    }
    pieces.at(-1)!.assignments.push(a);
  }
  return pieces;
}
