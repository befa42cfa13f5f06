import { useSignal } from '@preact/signals';
import type { UsageReport, UsageRow } from '@shoal/protocol';
import { useEffect } from 'preact/hooks';
import { formatDay, formatNumber, plural } from '../../format.ts';
import { FigureTable } from '../../FigureTable.tsx';
import { askAdmin } from './admin-api.ts';
import { tokensOf, usageByDay, usageByModel } from './usage.ts';

/** What a key has used over 30 days: tokens a day as bars, and by model as a table. */
export function KeyUsage({ name }: { name: string }) {
  const report = useSignal<UsageReport | string | null>(null);
  useEffect(() => {
    let isGone = false;
    askAdmin<UsageReport>('GET', `usage?key=${encodeURIComponent(name)}&by=day,model`).then(
      (told) => {
        if (!isGone) report.value = told;
      },
      (error: Error) => {
        if (!isGone) report.value = error.message;
      },
    );
    return () => {
      isGone = true;
    };
  }, [name]);
  const told = report.value;
  if (told === null) return <p class="muted">Reading what it has used…</p>;
  if (typeof told === 'string') return <p class="trouble">{told}</p>;
  if (told.rows.length === 0) return <p class="muted">It has used nothing in the last 30 days.</p>;
  return (
    <>
      <DayBars report={told} />
      <FigureTable label={`Usage of ${name} by model`} heads={['Model', 'Requests', 'Refused', 'Prompt', 'Answers']}>
        {usageByModel(told.rows).map((row) => (
          <tr key={row.model}>
            <th scope="row" class="id">
              {row.model}
            </th>
            <td class="numeric">{formatNumber(row.requests)}</td>
            <td class="numeric">{formatNumber(row.refusals)}</td>
            <td class="numeric">{formatNumber(row.promptTokens)}</td>
            <td class="numeric">{formatNumber(row.completionTokens)}</td>
          </tr>
        ))}
      </FigureTable>
    </>
  );
}

function DayBars({ report }: { report: UsageReport }) {
  const days = usageByDay(report);
  const most = Math.max(1, ...days.map(({ tokens }) => tokens));
  const peak = days.find(({ tokens }) => tokens === most);
  const total = days.reduce((sum, { tokens }) => sum + tokens, 0);
  const label =
    `${plural(total, 'token')} from ${formatDay(report.from)} to ${formatDay(report.to)}` +
    (peak ? `; the most on ${formatDay(peak.day)}, ${formatNumber(peak.tokens)}` : '');
  return (
    <figure class="day-bars">
      <div role="img" aria-label={label}>
        {days.map(({ day, tokens }) => (
          <span key={day} title={`${formatDay(day)}: ${plural(tokens, 'token')}`}>
            <span style={{ height: `${(tokens / most) * 100}%` }} />
          </span>
        ))}
      </div>
      <figcaption class="muted">{label}</figcaption>
    </figure>
  );
}

/** A bar for a key's tokens beside those of the others. */
export function UsageBar({ row, most }: { row: UsageRow | undefined; most: number }) {
  return (
    <span class="track" aria-hidden="true">
      <span class="bar ours" style={{ width: `${(tokensOf(row) / Math.max(1, most)) * 100}%` }} />
    </span>
  );
}
