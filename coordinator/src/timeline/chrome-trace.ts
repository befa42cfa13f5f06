import type { ForwardSegment } from '@shoal/model';
import type { LapEvent, LocalExpertsEvent, PassEvent, PassName, Timeline, WaitEvent } from './timeline.ts';
import type { TraceEvent } from './trace-file.ts';

/** Groups of rows, in the order in which they are shown. */
const COORDINATOR = 1;
const PEERS = 2;
const WIRE = 3;
/** Rows of the coordinator. */
const ENGINE_ROW = 1;
const FIRST_MICRO_BATCH_ROW = 10;
const FIRST_OWN_EXPERTS_ROW = 100;
/** Rows that one peer, or the wire, may take for what it does at the same time. */
const MAX_ROWS_EACH = 64;
/** Further tabs, of a swarm where many come and go, share rows. */
const MAX_PEERS = 4096;
const OTHER_PEERS = 'other tabs';

type Args = Record<string, unknown>;

/** Rows of one resource: what overlaps in time is on different ones, since a row shows one thing at a time. */
interface RowSet {
  label: string;
  pid: number;
  newTid: () => number;
  /** By row: its number, and the end of what is on it. */
  rows: { tid: number; endMs: number }[];
}

/**
 * Writes what happens as a Chrome trace with one row for each resource: the engine, each microBatch, the coordinator's own experts,
 * each peer, the wire. Of a lap only the whole, the tab's queue and its compute are known; out and back are taken to be equally
 * long.
 */
export class ChromeTrace implements Timeline {
  readonly #write: (event: TraceEvent) => void;
  readonly #originMs: number;
  readonly #named = new Set<string>();
  readonly #peers = new Map<string, RowSet>();
  readonly #wire: RowSet = { label: 'wire', pid: WIRE, newTid: counter(1), rows: [] };
  readonly #own: RowSet = {
    label: 'own experts',
    pid: COORDINATOR,
    newTid: counter(FIRST_OWN_EXPERTS_ROW),
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
    const row = this.#freeRow(this.#own, startedMs, endedMs);
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
    if (!rows) {
      rows = { label, pid: PEERS, newTid: this.#newPeerTid, rows: [] };
      this.#peers.set(label, rows);
    }
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
