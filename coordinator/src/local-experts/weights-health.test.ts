import type { PackedModel } from '@shoal/weights/node';
import { beforeEach, describe, expect, it } from 'vitest';
import { EventLog } from '../base/event-log.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { WeightsHealth } from './weights-health.ts';

const HASHES = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(64));
const [A, B] = HASHES as [string, string];
const pathOf = (hash: string): string => `/packed/shards/${hash}`;

/** Time that moves only when told. */
class TestClock implements Clock {
  nowMs = 0;
  #timers: { atMs: number; periodMs: number; run: () => void }[] = [];
  now(): number {
    return this.nowMs;
  }
  setTimeout(run: () => void, delayMs: number): Timer {
    return this.#add(run, delayMs, 0);
  }
  setInterval(run: () => void, periodMs: number): Timer {
    return this.#add(run, periodMs, periodMs);
  }
  clear(timer: Timer | undefined): void {
    this.#timers = this.#timers.filter((one) => one !== (timer as unknown));
  }
  setImmediate(run: () => void): void {
    run();
  }
  /** Runs what is due up to `ms` from now, each after everything that the one before has started. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
      const next = this.#timers.toSorted((a, b) => a.atMs - b.atMs)[0];
      if (!next || next.atMs > endMs) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      if (next.periodMs > 0) next.atMs += next.periodMs;
      else this.clear(next as unknown as Timer);
      next.run();
    }
    this.nowMs = endMs;
  }
  #add(run: () => void, delayMs: number, periodMs: number): Timer {
    const timer = { atMs: this.nowMs + delayMs, periodMs, run, unref: () => {} };
    this.#timers.push(timer);
    return timer;
  }
}

let clock: TestClock;
let events: EventLog;
let health: WeightsHealth;
/** Shards in the order in which they were checked, and when. */
let checks: [hash: string, atMs: number][];
/** What is wrong with the disk: damaged shards, which a checkpoint mends or doesn't. */
let damaged: Set<string>;
let mendable: boolean;

const packed = {
  manifest: { expertLayers: [1, 2], shards: { 1: HASHES.slice(0, 2), 2: HASHES.slice(2) } },
  shardPath: (hash: string) => (HASHES.includes(hash) ? pathOf(hash) : undefined),
  checkShard: async (hash: string) => {
    checks.push([hash, clock.nowMs]);
    clock.nowMs += 10;
    if (!damaged.has(hash)) return;
    health.report({ path: pathOf(hash), mended: mendable, text: `${pathOf(hash)} is spoilt` });
    if (!mendable) throw new Error('spoilt');
    damaged.delete(hash);
  },
} as unknown as PackedModel;

const texts = (): string[] => events.all().map(({ level, text }) => `${level}: ${text}`);

beforeEach(() => {
  clock = new TestClock();
  events = new EventLog();
  health = new WeightsHealth({ events, clock });
  [checks, damaged, mendable] = [[], new Set(), false];
});

describe('WeightsHealth', () => {
  it('checks every shard once after the start, using a fifth of the time', async () => {
    health.start(packed);
    expect(health.progress).toEqual({ shards: 4, checked: 0 });
    await clock.pass(120);
    expect(health.progress).toEqual({ shards: 4, checked: 3 });
    await clock.pass(1e6);
    expect(checks).toEqual(HASHES.map((hash, i) => [hash, 50 * i]));
    expect(texts()).toEqual(['info: All 4 shards on disk have been checked']);
    expect(health.damaged).toBe(0);
  });

  it('tells of damage beyond mending once, hands such a shard out no more, and notices when it was mended by hand', async () => {
    damaged.add(B);
    health.start(packed);
    await clock.pass(10_000);
    expect(texts()[0]).toBe(
      `error: The packed weights are damaged, so this coordinator is not ready: ${pathOf(B)} is spoilt`,
    );
    expect([health.damaged, health.mayServe(B), health.mayServe(A)]).toEqual([1, false, true]);
    await clock.pass(180_000);
    expect(checks.filter(([hash]) => hash === B)).toHaveLength(4);
    damaged.clear();
    await clock.pass(60_000);
    expect([health.damaged, health.mayServe(B), health.mended]).toEqual([0, true, 0]);
    expect(texts().slice(1)).toEqual([
      'info: All 4 shards on disk have been checked',
      `info: ${pathOf(B)} is whole again.`,
    ]);
  });

  it('counts what was mended, and stays ready', async () => {
    damaged.add(A);
    mendable = true;
    health.start(packed);
    await clock.pass(10_000);
    expect([health.damaged, health.mended, health.mayServe(A)]).toEqual([0, 1, true]);
    expect(texts()[0]).toBe(`warning: ${pathOf(A)} is spoilt`);
  });

  it('reaches every shard although tabs report others all the time', async () => {
    health.start(packed);
    const isOver = (): boolean => health.progress.checked === 4;
    for (let second = 0; second < 1000 && !isOver(); second++) {
      // As if there were more to report than can be checked in a minute.
      health.suspect(Array.from({ length: 100 }, (_, i) => `${second} ${i}`));
      await clock.pass(1_000);
    }
    expect(health.progress).toEqual({ shards: 4, checked: 4 });
  });

  it('checks what tabs report before the rest, and once a minute however many report it', async () => {
    health.start(packed);
    health.suspect(['d'.repeat(64)]);
    await clock.pass(10_000);
    expect(checks.map(([hash]) => hash[0]).join('')).toBe('adbc');
    for (let second = 0; second < 180; second++) {
      health.suspect([A, B]);
      await clock.pass(1_000);
    }
    expect(checks.filter(([hash]) => hash === A)).toHaveLength(1 + 3);
  });

  it('tries a shard again that could not be read for another reason, a minute later', async () => {
    const errors = [new Error('EMFILE: too many open files')];
    const checkShard = async (hash: string): Promise<void> => {
      checks.push([hash, clock.nowMs]);
      const error = errors.pop();
      if (error) throw error;
    };
    health.start({ ...packed, checkShard });
    await clock.pass(59_999);
    expect(checks).toEqual([[A, 0]]);
    expect(health.progress.checked).toBe(0);
    await clock.pass(1e6);
    expect(checks.map(([hash]) => hash)).toEqual([A, ...HASHES]);
    expect(health.damaged).toBe(0);
    expect(texts()).toEqual([
      'warning: A shard could not be checked: Error: EMFILE: too many open files',
      'info: All 4 shards on disk have been checked',
    ]);
  });

  it('checks nothing more once it is closed', async () => {
    health.start(packed);
    health.close();
    health.suspect([A]);
    await clock.pass(200_000);
    expect(checks).toHaveLength(1);
  });
});
