import type { UsageReport, UsageRow } from '@shoal/protocol';

const DAY_MS = 86_400_000;

export function tokensOf(row: Pick<UsageRow, 'promptTokens' | 'completionTokens'> | undefined): number {
  return row ? row.promptTokens + row.completionTokens : 0;
}

/** Tokens of each day of a report, those without any too. */
export function usageByDay({ from, to, rows }: UsageReport): { day: string; tokens: number }[] {
  const tokens = new Map<string, number>();
  for (const row of rows) tokens.set(row.day ?? '', (tokens.get(row.day ?? '') ?? 0) + tokensOf(row));
  const days: { day: string; tokens: number }[] = [];
  for (let time = Date.parse(from); time <= Date.parse(to); time += DAY_MS) {
    const day = new Date(time).toISOString().slice(0, 10);
    days.push({ day, tokens: tokens.get(day) ?? 0 });
  }
  return days;
}

/** The sums of each model, the largest first. */
export function usageByModel(rows: readonly UsageRow[]): (UsageRow & { model: string })[] {
  const models = new Map<string, UsageRow & { model: string }>();
  for (const row of rows) {
    const model = row.model ?? '';
    const sum = models.get(model) ?? { model, requests: 0, refusals: 0, promptTokens: 0, completionTokens: 0 };
    sum.requests += row.requests;
    sum.refusals += row.refusals;
    sum.promptTokens += row.promptTokens;
    sum.completionTokens += row.completionTokens;
    models.set(model, sum);
  }
  return [...models.values()].sort((a, b) => tokensOf(b) - tokensOf(a));
}
