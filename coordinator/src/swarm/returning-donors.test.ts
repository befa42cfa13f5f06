import { keptName } from '@shoal/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Clock } from '../base/clock.ts';
import type { PeerSession } from './peer-session.ts';
import { ReturningDonors } from './returning-donors.ts';

const LAYERS = [3, 5];
const EXPERTS = 4;
const shardHash = (layer: number, expert: number): string => `${layer}${expert}`.padEnd(64, 'a');

let waiting: { run: () => void; delayMs: number }[];
let over: number;
let donors: ReturningDonors;

const clock: Clock = {
  now: () => 0,
  setTimeout: (run, delayMs) => {
    waiting.push({ run, delayMs });
    return { unref: () => {} };
  },
  setInterval: () => ({ unref: () => {} }),
  clear: () => {},
  setImmediate: (run) => run(),
};

beforeEach(() => {
  [waiting, over] = [[], 0];
  donors = new ReturningDonors({
    model: { layers: LAYERS, expertsPerLayer: EXPERTS, groupsPerLayer: 1, shardBytes: 1 },
    shardHash,
    clock,
    returnDelayMs: 6_000,
    onOver: () => over++,
  });
});

const tab = (kept?: string[]): PeerSession => ({ hello: { kept } }) as unknown as PeerSession;
/** Most recent last, as in a hello. */
const keeps = (...refs: [layer: number, expert: number][]): PeerSession =>
  tab(refs.map(([layer, expert]) => keptName(shardHash(layer, expert))));

describe('ReturningDonors.held', () => {
  it('gives the kept experts of the model, most recent first, each once', () => {
    expect(donors.held(keeps([3, 1], [5, 0], [3, 1], [5, 3]))).toEqual([7, 4, 1]);
  });

  it('ignores shards of other models', () => {
    const stranger = keptName('f'.repeat(64));
    expect(donors.held(tab([stranger]))).toBeUndefined();
    expect(donors.held(tab([]))).toBeUndefined();
    expect(donors.held(tab())).toBeUndefined();
    expect(donors.held(tab([stranger, keptName(shardHash(3, 2))]))).toEqual([2]);
  });
});

describe('ReturningDonors.arrived', () => {
  it('waits for other tabs once, if the first tab brings experts, and reports the end of the wait', () => {
    donors.arrived(keeps([3, 1]));
    expect(donors.expected).toBe(true);
    donors.arrived(keeps([5, 1]));
    expect(waiting.map(({ delayMs }) => delayMs)).toEqual([6_000]);
    waiting[0]!.run();
    expect([donors.expected, over]).toEqual([false, 1]);
    donors.arrived(keeps([3, 2]));
    expect([donors.expected, waiting.length]).toEqual([false, 1]);
  });

  it('does not wait if the first tab brings none', () => {
    donors.arrived(tab());
    donors.arrived(keeps([3, 1]));
    expect([donors.expected, waiting.length, over]).toEqual([false, 0, 0]);
  });
});
