import { uniformWorkItem, type WorkItem } from '@shoal/model';
import { encodeCombine, peekFrame } from '@shoal/protocol';
import type { Link, TransportError } from '@shoal/transport';
import { systemClock } from '../../base/clock.ts';
import type { LapError } from '../lap.ts';
import { LapClient } from '../lap-client.ts';

export const HIDDEN = 4;

/** A link whose other end is the test. */
export class TestLink implements Link {
  readonly state = 'open';
  onFrame: Link['onFrame'];
  onClose: Link['onClose'];
  readonly sent: Uint8Array[] = [];
  failure: TransportError | undefined;
  bytesReceived = 0;
  send(frame: Uint8Array): Promise<void> {
    this.sent.push(frame);
    return this.failure ? Promise.reject(this.failure) : Promise.resolve();
  }
  close(): void {}
  stats() {
    const { bytesReceived } = this;
    return { bytesSent: 0, bytesReceived, framesSent: 0, framesReceived: 0, rttMs: undefined, lost: 0 };
  }
  lapId(index = -1): number {
    return peekFrame(this.sent.at(index)!).lapId;
  }
}

/** A lap client over a link whose other end is the test, at a time that the test sets. */
export class LapClientRig {
  readonly link = new TestLink();
  readonly hostile: string[] = [];
  nowMs = 1_000_000;
  readonly laps = new LapClient({
    link: this.link,
    hiddenSize: HIDDEN,
    epoch: () => 3,
    onHostile: (reason) => this.hostile.push(reason),
    clock: { ...systemClock, now: () => this.nowMs },
  });

  /** One lap, answered after `lapMs`. */
  async lapOf(lapMs: number, meter = { frameBytes: 0 }): Promise<void> {
    const answer = this.laps.ask(someItem(), { meter });
    this.nowMs += lapMs;
    this.laps.receive(combine(this.link.lapId()));
    await answer;
  }
}

export const someItem = (numRows = 2): WorkItem =>
  uniformWorkItem({
    layer: 1,
    rows: new Uint16Array(numRows * HIDDEN),
    numRows,
    experts: new Uint16Array(numRows),
    weights: new Float32Array(numRows).fill(1),
  });

export function combine(lapId: number, more: { numRows?: number; computeUs?: number; queueUs?: number } = {}) {
  const { numRows = 2, computeUs = 2_000, queueUs = 1_000 } = more;
  const partial = new Float32Array(numRows * HIDDEN).fill(1);
  return encodeCombine({ lapId, numRows, hiddenSize: HIDDEN, queueUs, computeUs, partial });
}

export const failureOf = (answer: Promise<unknown>): Promise<LapError> =>
  answer.then(
    () => Promise.reject(new Error('the lap was answered')),
    (error: unknown) => error as LapError,
  );
