import { type MoeCall, type SwigluWeights, type WorkItem } from '@shoal/model';
import { roundedRows } from '@shoal/protocol';
import { SampleWindow } from '../../base/sample-window.ts';
import { type LapAnswer } from '../lap.ts';
import type { AskOptions, LapClient } from '../lap-client.ts';
import type { LapPeer } from '../lap-splitter.ts';
import { ReferenceWork } from './reference-work.ts';

export const HIDDEN = 4;
export const EXPERTS = 8;
export const TOP_K = 2;

/** Each expert gives 1 everywhere, so that a sum tells whose weights are in it. */
const ones: SwigluWeights = {
  gate: new Float32Array(HIDDEN).fill(0.25),
  up: new Float32Array(HIDDEN).fill(0.25),
  down: new Float32Array(HIDDEN).fill(1 / 0.7310585786300049),
};

/** Computes experts that give 1 everywhere. */
export const onesWork = (): ReferenceWork =>
  new ReferenceWork({ hiddenSize: HIDDEN, maxBytes: 2 ** 20, read: async () => ones });

/** A peer whose laps are answered at once, with experts that give 1 everywhere. */
export class FakePeer implements LapPeer {
  readonly peerId: string;
  readonly asked: WorkItem[] = [];
  helpedTokens = 0;
  expectedLapMs = 1;
  perAssignmentMs = 0;
  failure: Error | undefined;
  delay: Promise<void> = Promise.resolve();
  trial: LapClient['trial'];
  readonly overtakenBy: string[] = [];
  hedgeAfterMs = Number.POSITIVE_INFINITY;
  readonly serves: (layer: number, expert: number) => boolean;

  constructor(peerId: string, serves: (layer: number, expert: number) => boolean) {
    this.peerId = peerId;
    this.serves = serves;
  }

  /** It says of the first row of each lap that it has no finite sum. */
  withholds = false;
  /** Whether such a row had one, for each of these laps. */
  readonly checked: boolean[] = [];

  believed = true;
  rowsAhead = Number.POSITIVE_INFINITY;
  accepting = true;
  readonly accepts = (): boolean => this.accepting;

  helped(tokens: number): void {
    this.helpedTokens += tokens;
  }

  get laps(): LapClient {
    const ask = (item: WorkItem, options?: AskOptions): Promise<LapAnswer> => this.#ask(item, options);
    const lapMs = new SampleWindow(1);
    if (this.expectedLapMs > 0) lapMs.add(this.expectedLapMs);
    const attempt = (item: WorkItem, options?: AskOptions) => ({
      result: ask(item, options),
      overtaken: (by: string) => void this.overtakenBy.push(by),
    });
    const hedgeAfterMs = (): number => this.hedgeAfterMs;
    const { trial } = this;
    const standing = this.expectedLapMs === 0 ? 'try' : 'known';
    const expected = { standing, fixedMs: this.expectedLapMs, perAssignmentMs: this.perAssignmentMs };
    const checked = (_: LapAnswer, hasSum: boolean): void => void this.checked.push(hasSum);
    return { ask, attempt, hedgeAfterMs, trial, expected, lapMs, checked } as unknown as LapClient;
  }

  async #ask(item: WorkItem, options: AskOptions = {}): Promise<LapAnswer> {
    this.asked.push(item);
    if (options.meter) options.meter.frameBytes += 100;
    await this.delay;
    if (this.failure) throw this.failure;
    const partial = roundedRows('f16', await onesWork().compute(item), HIDDEN);
    return {
      partial: this.withholds ? partial.fill(Number.NaN, 0, HIDDEN) : partial,
      timing: { lapMs: 9, queueMs: 2, computeMs: 3 },
      sentMs: 0,
    };
  }
}

/** For FakePeer: serves every expert. */
export const every = (): boolean => true;
/** For FakePeer: serves these experts of each layer. */
export const only =
  (...experts: number[]) =>
  (_: number, expert: number): boolean =>
    experts.includes(expert);

/** A call of these experts for each row. */
export function call(topk: number[][], more: { layer?: number; weights?: number[]; x?: Float32Array } = {}): MoeCall {
  const numRows = topk.length;
  return {
    layer: more.layer ?? 1,
    numRows,
    x: more.x ?? new Float32Array(numRows * HIDDEN).fill(1),
    topkIdx: Int32Array.from(topk.flat()),
    topkWeights: Float32Array.from(more.weights ?? topk.flat().map((_, i) => i + 1)),
  };
}

/** [rows] the sum of each row, which is that of its weights. */
export function perRow(sum: Float32Array): number[] {
  return Array.from({ length: sum.length / HIDDEN }, (_, row) => Math.round(sum[row * HIDDEN]! * 100) / 100);
}
