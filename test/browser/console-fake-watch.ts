import { type AlertsView, type History, HISTORY_RANGES, type HistoryPoint, type HistoryRange } from '@shoal/protocol';

const TO_MS = Date.UTC(2026, 10, 30, 12);

/** A history with a gap in its middle, in which the coordinator was not running. */
export function fakeHistory(range: HistoryRange, member: string | null): History {
  const { spanS, stepS } = HISTORY_RANGES[range];
  const count = spanS / stepS;
  const fromMs = TO_MS - spanS * 1_000;
  const points = Array.from({ length: count }, (_, i): HistoryPoint | null => {
    if (i > count / 3 && i < count / 2) return null;
    const wave = 1 + Math.sin((i / count) * 12);
    return {
      atMs: fromMs + i * stepS * 1_000,
      measuredShare: 1,
      tokensPerSecond: 20 * wave,
      streams: 2 * wave,
      queued: 0,
      tabs: member === null ? 6 : 3,
      coverage: 0.975,
      firstTokenMsP50: 180,
      firstTokenMsP95: i % 7 === 0 ? null : 400 + 300 * wave,
      lapsPerSecond: 100 * wave,
      bytesPerSecond: 81_000 * wave,
      fallbackShare: 0.01 * wave,
      errors: i % 11 === 0 ? 1 : 0,
      refused: 0,
    };
  });
  const totals = {
    sinceMs: Date.UTC(2026, 10, 2),
    tokens: 1_234_567,
    laps: 6_200_000,
    bytes: 5.1e9,
    errors: 3,
    tabHours: 411.5,
  };
  return { range, member, stepS, fromMs, toMs: TO_MS, kept: 'database', members: ['a:8787', 'b:8787'], points, totals };
}

export function fakeAlerts(): AlertsView {
  return {
    webhook: 'hooks.example',
    isSigned: true,
    open: [{ key: 'database-away', text: 'The database does not answer', sinceMs: TO_MS }],
    delivered: 12,
    failed: 0,
    waiting: 0,
    lastError: null,
  };
}
