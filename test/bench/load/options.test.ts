import { describe, expect, it } from 'vitest';
import { LOAD_HELP, LoadUsageError, parseLoadOptions } from './options.ts';

describe('options of the load generator', () => {
  it('have the defaults that its help names', () => {
    const { workload, roundTripMs, loss, tabs, paces, maxBatch } = parseLoadOptions([]);
    expect(workload).toMatchObject({ arrivals: { ratePerS: 2 }, durationS: 30 });
    expect([workload.promptTokens.median, workload.answerTokens.median]).toEqual([24, 48]);
    expect({ roundTripMs, loss, tabs, maxBatch }).toEqual({ roundTripMs: 20, loss: 0, tabs: 2, maxBatch: undefined });
    expect(paces).toEqual([{ lapOverheadMs: 0, assignmentsPerSecond: Number.POSITIVE_INFINITY }]);
  });

  it('are all in its help', () => {
    const flags = [...LOAD_HELP.matchAll(/^ {2}--([a-z-]+)/gm)].map(([, flag]) => flag);
    for (const flag of flags) {
      if (flag === 'help' || flag === 'json') continue;
      expect(() => parseLoadOptions([`--${flag}`, 'much'])).toThrow(`--${flag} takes a`);
    }
    expect(flags).toHaveLength(19);
  });

  it('take streams in place of a rate, and a pace for each tab', () => {
    const { workload, paces } = parseLoadOptions(['--streams', '16', '--pairs', '20000,5000', '--lap-overhead', '2']);
    expect(workload.arrivals).toEqual({ streams: 16 });
    expect(paces).toEqual([
      { lapOverheadMs: 2, assignmentsPerSecond: 20_000 },
      { lapOverheadMs: 2, assignmentsPerSecond: 5_000 },
    ]);
  });

  it.each([
    [['--rate', '0'], '--rate takes a number from 0.01 to 1000, not "0"'],
    [['--streams', '2.5'], '--streams takes a whole number from 1 to 256, not "2.5"'],
    [['--rate', '1', '--streams', '1'], 'give one'],
    [['--pairs', '100,fast'], '--pairs takes a number from 1 to 1000000000, not "fast"'],
    [['--speed', '1'], "Unknown option '--speed'"],
  ])('refuse %j and say what they take', (argv, message) => {
    expect(() => parseLoadOptions(argv)).toThrow(LoadUsageError);
    expect(() => parseLoadOptions(argv)).toThrow(message);
  });
});
