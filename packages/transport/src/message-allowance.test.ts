import { describe, expect, it } from 'vitest';
import { MessageAllowance } from './message-allowance.ts';

const HEARTBEAT_MS = 2_000;
const MAX_FRAME_BYTES = 200_000;
const allowed = (): MessageAllowance => new MessageAllowance(MAX_FRAME_BYTES, HEARTBEAT_MS, 0);

const flood = (take: () => boolean): number => {
  let taken = 0;
  while (taken < 1_000_000 && take()) taken++;
  return taken;
};

describe('MessageAllowance', () => {
  it('takes a burst, then what little time brings, however long it was idle', () => {
    const allowance = allowed();
    const floodAt = (nowMs: number): number => flood(() => allowance.take(nowMs));
    expect(floodAt(0)).toBe(512);
    expect(floodAt(1_000)).toBeLessThanOrEqual(64);
    expect(floodAt(1_000_000)).toBeLessThanOrEqual(512);
  });

  it('takes pings by time alone: those of a minute at once, whatever else was sent', () => {
    const allowance = allowed();
    for (let lap = 0; lap < 1_000; lap++) allowance.sent(MAX_FRAME_BYTES);
    // Four channels ping and answer pings, each message comes twice, and 30 heartbeats are read at once.
    for (let i = 0; i < 4 * 2 * 30; i++) expect(allowance.takeSignal(0)).toBe(true);
    for (let tick = 1; tick <= 100; tick++)
      for (let i = 0; i < 4 * 2 * 2; i++) expect(allowance.takeSignal(tick * HEARTBEAT_MS)).toBe(true);
    expect(flood(() => allowance.takeSignal(100 * HEARTBEAT_MS))).toBeLessThanOrEqual(256);
  });

  /** Answers a lap of so many bytes in parts of so many, each of which comes `copies` times. */
  function answer(allowance: MessageAllowance, bytes: number, partBytes: number, copies: number): void {
    const parts = Math.ceil(bytes / partBytes);
    for (let i = 0; i < parts * copies; i++) expect(allowance.take(0)).toBe(true);
    allowance.received(bytes, parts);
  }

  it.each([
    ['as Shoal cuts them', 2_300, 1],
    ['in the smallest parts, each twice', 1_024, 2],
  ])('takes the answers to any number of frames, %s, and then no more of a flood than before', (_, part, copies) => {
    const allowance = allowed();
    for (let round = 0; round < 300; round++) {
      for (const bytes of [418, 5_000, MAX_FRAME_BYTES, 100_000, 418]) allowance.sent(bytes);
      for (const bytes of [392, 4_900, MAX_FRAME_BYTES - 2_000, 99_000, 392]) answer(allowance, bytes, part, copies);
      allowance.sent(4);
      if (round % 4 === 0) allowance.tick();
    }
    expect(flood(() => allowance.take(0))).toBeLessThan(512 + 2 * 2 * 200);
    expect(flood(() => allowance.take(0))).toBe(0);
  });

  it('lets no more than two of the largest frames be saved up by not answering, and forgets them in a while', () => {
    const [greedy, patient] = [allowed(), allowed()];
    for (const allowance of [greedy, patient]) for (let lap = 0; lap < 20; lap++) allowance.sent(MAX_FRAME_BYTES);
    expect(flood(() => greedy.take(0))).toBeLessThanOrEqual(512 + 2 * 2 * 197);
    for (let tick = 0; tick < 60; tick++) patient.tick();
    expect(flood(() => patient.take(0))).toBeLessThanOrEqual(520);
  });
});
