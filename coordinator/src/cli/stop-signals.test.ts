import { afterEach, describe, expect, it } from 'vitest';
import { StopSignals, type StopSignalsOptions } from './stop-signals.ts';

describe('StopSignals', () => {
  let nowMs = 0;
  let signals: StopSignals | undefined;
  let calls: string[] = [];

  function listen(options: StopSignalsOptions = {}): StopSignals {
    [nowMs, calls] = [0, []];
    signals = new StopSignals({
      onRepeat: () => calls.push('repeat'),
      onInsist: () => calls.push('insist'),
      nowMs: () => nowMs,
      ...options,
    });
    return signals;
  }

  function send(name: 'SIGINT' | 'SIGTERM', atMs: number): void {
    nowMs = atMs;
    process.emit(name, name);
  }

  afterEach(() => signals?.close());

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('aborts at the first %s', async (name, exitCode) => {
    const stop = listen();
    const received = stop.received();
    expect(stop.signal.aborted).toBe(false);
    send(name, 0);
    await received;
    await stop.received();
    expect(stop.signal.aborted).toBe(true);
    expect(stop.exitCode).toBe(exitCode);
  });

  it('takes the copies that npm and the terminal send for one Ctrl-C', () => {
    listen();
    for (const atMs of [0, 1, 40, 999]) send('SIGINT', atMs);
    expect(calls).toEqual([]);
  });

  it('ends at once when Ctrl-C is pressed again, and never for another SIGTERM', () => {
    listen();
    send('SIGTERM', 0);
    send('SIGTERM', 2_000);
    expect(calls).toEqual(['repeat']);
    send('SIGINT', 3_000);
    expect(calls).toEqual(['repeat', 'insist']);
  });

  it('leaves no listener behind', () => {
    const before = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
    listen().close();
    expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(before);
  });
});
