import type { ForwardSegment } from '@shoal/model';
import type { LapEvent, LocalExpertsEvent, PassEvent, PassName, Timeline, WaitEvent } from './timeline.ts';
import { type TraceEvent, TraceFile } from './trace-file.ts';

/** Groups of rows, in the order of their display. */
const COORDINATOR = 1;
const PEERS = 2;
const WIRE = 3;
/** Rows of the coordinator. */
const ENGINE_ROW = 1;
const FIRST_MICRO_BATCH_ROW = 10;
const FIRST_LOCAL_EXPERTS_ROW = 100;
/** Rows for what one peer, or the wire, does at the same time. */
const MAX_ROWS_EACH = 64;
/** Peers with rows of their own; in a swarm where many come and go, the others share rows. */
const MAX_PEERS = 4096;
const OTHER_PEERS = 'other tabs';

type Args = Record<string, unknown>;

/** The rows of one resource. A row shows one thing at a time, so what overlaps is on different rows. */
interface RowSet {
  label: string;
  pid: number;
  newTid: () => number;
  /** `endMs`: the end of what is on the row. */
  rows: { tid: number; endMs: number }[];
}

/**
 * Writes a Chrome trace with a row for each resource: the engine, each micro-batch, the local experts, each peer, the wire. Of
 * a lap only the whole, the peer's queue and its compute are known; the ways out and back are drawn equally long.
 */
export class ChromeTrace implements Timeline {
  readonly #write: (event: TraceEvent) => void;
  readonly #originMs: number;
  readonly #named = new Set<string>();
  readonly #peers = new Map<string, RowSet>();
  readonly #wire: RowSet = { label: 'wire', pid: WIRE, newTid: counter(1), rows: [] };
  readonly #localExperts: RowSet = {
    label: 'local experts',
    pid: COORDINATOR,
    newTid: counter(FIRST_LOCAL_EXPERTS_ROW),
    rows: [],
  };
  readonly #newPeerTid = counter(1);

  constructor(write: (event: TraceEvent) => void, originMs = performance.now()) {
    this.#write = write;
    this.#originMs = originMs;
    this.#name('process_name', COORDINATOR, 0, 'coordinator');
    this.#name('process_name', PEERS, 0, 'peers');
    this.#name('process_name', WIRE, 0, 'wire');
    this.#name('thread_name', COORDINATOR, ENGINE_ROW, 'engine');
  }

  pass({ startedMs, endedMs, microBatch, ...args }: PassEvent): void {
    this.#span('pass', COORDINATOR, this.#microBatchRow(microBatch), startedMs, endedMs, args);
  }

  wait({ startedMs, endedMs, microBatch, ...args }: WaitEvent): void {
    this.#span(`waits for layer ${args.layer}`, COORDINATOR, this.#microBatchRow(microBatch), startedMs, endedMs, args);
  }

  segment({ kind, layer, numRows, queuedMs, startedMs, endedMs }: ForwardSegment, by: PassName): void {
    const args = { ...by, layer, rows: numRows, queuedUs: Math.round((startedMs - queuedMs) * 1000) };
    this.#span(`${kind} ${layer}`, COORDINATOR, ENGINE_ROW, startedMs, endedMs, args);
  }

  localExperts({ startedMs, endedMs, ...args }: LocalExpertsEvent, by: PassName | undefined): void {
    const row = this.#freeRow(this.#localExperts, startedMs, endedMs);
    this.#span(`layer ${args.layer}`, COORDINATOR, row, startedMs, endedMs, { ...by, ...args });
  }

  lap(event: LapEvent, peerId: string, by: PassName | undefined): void {
    const { lapId, layer, rows, startedMs, endedMs, queueMs, computeMs, sentBytes, receivedBytes, failure } = event;
    const args: Args = { lap: lapId, layer, rows, peer: peerId, ...by };
    const wireRow = this.#freeRow(this.#wire, startedMs, endedMs);
    if (failure !== undefined) {
      this.#span(failure, WIRE, wireRow, startedMs, endedMs, { ...args, sentBytes });
      return;
    }
    const wayMs = Math.max(0, endedMs - startedMs - queueMs - computeMs) / 2;
    const arrivedMs = startedMs + wayMs;
    const leftMs = endedMs - wayMs;
    const begunMs = leftMs - computeMs;
    this.#span('out', WIRE, wireRow, startedMs, arrivedMs, { ...args, bytes: sentBytes });
    this.#span('back', WIRE, wireRow, leftMs, endedMs, { ...args, bytes: receivedBytes });
    const row = this.#freeRow(this.#peer(peerId), arrivedMs, leftMs);
    if (queueMs > 0) this.#span(`queue ${layer}`, PEERS, row, arrivedMs, begunMs, args);
    this.#span(`compute ${layer}`, PEERS, row, begunMs, leftMs, args);
  }

  #microBatchRow(microBatch: number): number {
    const tid = FIRST_MICRO_BATCH_ROW + microBatch;
    this.#name('thread_name', COORDINATOR, tid, `micro-batch ${microBatch}`);
    return tid;
  }

  #peer(peerId: string): RowSet {
    const label = this.#peers.has(peerId) || this.#peers.size < MAX_PEERS ? peerId : OTHER_PEERS;
    let rows = this.#peers.get(label);
    if (!rows) this.#peers.set(label, (rows = { label, pid: PEERS, newTid: this.#newPeerTid, rows: [] }));
    return rows;
  }

  #freeRow(set: RowSet, startMs: number, endMs: number): number {
    let row = set.rows.find((each) => each.endMs <= startMs);
    if (!row && set.rows.length < MAX_ROWS_EACH) {
      row = { tid: set.newTid(), endMs };
      set.rows.push(row);
      const number = set.rows.length === 1 ? '' : ` (${set.rows.length})`;
      this.#name('thread_name', set.pid, row.tid, `${set.label}${number}`);
    }
    row ??= set.rows.at(-1)!;
    row.endMs = Math.max(row.endMs, endMs);
    return row.tid;
  }

  #name(what: 'process_name' | 'thread_name', pid: number, tid: number, name: string): void {
    const key = `${what} ${pid} ${tid}`;
    if (this.#named.has(key)) return;
    this.#named.add(key);
    this.#write({ name: what, ph: 'M', ts: 0, pid, tid, args: { name } });
  }

  #span(name: string, pid: number, tid: number, startMs: number, endMs: number, args: Args): void {
    const us = (ms: number): number => Math.round(ms * 1000 * 10) / 10;
    const ts = us(startMs - this.#originMs);
    this.#write({ name, ph: 'X', ts, dur: Math.max(0, us(endMs - this.#originMs) - ts), pid, tid, args });
  }
}

function counter(first: number): () => number {
  let next = first;
  return () => next++;
}

/**
 * A timeline that is written to a file, or none without a path. Rejects with a TraceError where the file cannot be written.
 * `onError` is called if the trace ends early.
 */
export async function openTimeline(
  path: string | undefined,
  onError: (error: Error) => void,
): Promise<{ timeline: Timeline | undefined; close(): Promise<void> }> {
  if (path === undefined) return { timeline: undefined, close: async () => {} };
  const file = await TraceFile.open({ path, onError });
  return { timeline: new ChromeTrace((event) => file.write(event)), close: () => file.close() };
}
