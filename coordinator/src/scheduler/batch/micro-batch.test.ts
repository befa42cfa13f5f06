import { createRng, type SequenceCache } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { PassCosts } from './pass-costs.ts';
import { PrefillBudget, UNFELT_PASS_MS } from './prefill-budget.ts';
import { Sequence } from '../sequence.ts';
import { MicroBatchBuilder } from './micro-batch.ts';
import { aloneInFlight } from '../testing/pass-times.ts';

/** A sequence with `computed` rows of its prompt done; once all are, it has one more token. */
function sequence(promptRows: number, computed: number): Sequence {
  const request = {
    id: '',
    promptIds: Array.from({ length: promptRows }, (_, i) => i),
    maxTokens: 8,
    temperature: 0,
    topP: 1,
    seed: 1,
    signal: new AbortController().signal,
  };
  const made = new Sequence(request, 0);
  made.cache = { length: computed } as SequenceCache;
  if (computed === promptRows) made.ids.push(0);
  return made;
}

/** Puts it in a pass: the dense engine has made room for its rows. */
function enter(entered: Sequence, rows: number): void {
  entered.rowsInPass = rows;
  entered.cache = { length: entered.cache!.length + rows } as SequenceCache;
}

describe('a prompt', () => {
  /** All rows if no sequence decodes, else few. */
  const budget = (decodeRows: number): number => (decodeRows === 0 ? 256 : 24);

  it('has all that there may be where nobody decodes', () => {
    const prompt = sequence(1000, 0);
    expect(new MicroBatchBuilder(budget).next([prompt], 2, 2).promptRows.get(prompt)).toBe(256);
  });

  it('holds up no more than a budget those who decode, whichever pass they are in', () => {
    const streams = [sequence(4, 4), sequence(4, 4)];
    const prompt = sequence(1000, 0);
    const running = [...streams, prompt];
    expect(new MicroBatchBuilder(budget).next(running, 1, 1).promptRows.get(prompt)).toBe(24);
    for (const stream of streams) enter(stream, 1);
    expect(new MicroBatchBuilder(budget).next(running, 2, 1).promptRows.get(prompt)).toBe(24);
    // The last rows of a prompt, which give its first token.
    const last = sequence(40, 30);
    enter(last, 10);
    expect(new MicroBatchBuilder(budget).next([last, prompt], 2, 1).promptRows.get(prompt)).toBe(24);
  });
});

describe('whatever passes cost and whoever waits', () => {
  /** Times in milliseconds of a pass, a decoding row and a prompt row; laps of a pass. */
  const draw = (rng: () => number) => ({
    passMs: 10 ** (3 * rng()),
    rowMs: 10 ** (2 * rng() - 1),
    promptRowMs: 10 ** (3 * rng() - 1),
    laps: 1 + Math.floor(60 * rng()),
    microBatches: rng() < 0.5 ? 1 : 2,
    promptLaps: rng() < 0.5 ? 1 : 3,
  });

  it('a pass is longer for its prompts by the laps’ time that they may take at most, or by one row, or is felt by nobody', () => {
    const rng = createRng(7);
    let bounded = 0;
    let leasts = 0;
    for (let model = 0; model < 40; model++) {
      const { passMs, rowMs, promptRowMs, laps, microBatches, promptLaps } = draw(rng);
      const costs = new PassCosts();
      const budget = new PrefillBudget({ costs, maxRows: 256, lapsPerPass: laps });
      const builder = new MicroBatchBuilder((rows) => budget.rowsBeside(rows, promptLaps));
      const passWith = (decodeRows: number, promptRows: number): void => {
        const ms = passMs + rowMs * decodeRows + promptRowMs * promptRows;
        costs.add(aloneInFlight({ rows: decodeRows + promptRows, promptRows, ms }));
      };
      for (let i = 0; i < 16; i++) passWith(1 + i, i % 2);
      for (let pass = 0; pass < 40; pass++) {
        const streams = Array.from({ length: 1 + Math.floor(40 * rng()) }, () => sequence(4, 4));
        const prompts = Array.from({ length: Math.floor(40 * rng()) }, () => sequence(1 + Math.floor(300 * rng()), 0));
        const share = builder.next([...streams, ...prompts], microBatches, microBatches);
        const promptRows = [...share.promptRows.values()].reduce((sum, rows) => sum + rows, 0);
        const aloneMs = passMs + rowMs * Math.ceil(streams.length / microBatches);
        const extraMs = promptRows * promptRowMs;
        const mostMs = Math.max((promptLaps * aloneMs) / laps, promptRowMs, UNFELT_PASS_MS - aloneMs);
        expect(extraMs).toBeLessThanOrEqual(mostMs * 1.001);
        if (promptRows > 1) bounded++;
        else if (promptRows === 1) leasts++;
        passWith(share.sequences.length - share.promptRows.size, promptRows);
      }
    }
    expect(bounded).toBeGreaterThan(200);
    expect(leasts).toBeGreaterThan(100);
  });

  it('where a row is dearer than a lap, prompts of all clients come forward in turn', () => {
    const builder = new MicroBatchBuilder((decodeRows) => (decodeRows === 0 ? 256 : 1));
    const prompts = ['a', 'b', 'c'].map((client) => {
      const made = sequence(10, 0);
      (made.request as { client?: string }).client = client;
      return made;
    });
    const first = new Map<Sequence, number>();
    for (let pass = 1; pass <= 30; pass++) {
      const { promptRows } = builder.next(
        [sequence(4, 4), ...prompts.filter(({ state }) => state === 'prefill')],
        1,
        1,
      );
      expect([...promptRows.values()]).toEqual([1]);
      for (const [prompt] of promptRows) {
        prompt.cache = { length: prompt.cache!.length + 1 } as SequenceCache;
        if (!first.has(prompt)) first.set(prompt, pass);
      }
    }
    expect([...first.values()]).toEqual([1, 2, 3]);
    expect(prompts.map(({ cache }) => cache!.length)).toEqual([10, 10, 10]);
  });
});
