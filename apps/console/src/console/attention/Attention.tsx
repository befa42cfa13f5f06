import type { AttentionItem, Severity } from '@shoal/protocol';
import { formatDuration, plural } from '../../format.ts';
import { type Tone, ToneIcon } from '../peer-state.tsx';

const tones: Record<Severity, Tone> = { urgent: 'trouble', warning: 'waiting', notice: 'away' };

/** Everything that needs attention, the most urgent first: what it is, what to do, and where to look. Nothing without any. */
export function Attention({ items, nowMs }: { items: readonly AttentionItem[]; nowMs: number }) {
  if (items.length === 0) return null;
  return (
    <section class="card" id="attention" aria-labelledby="attention-title" tabIndex={-1}>
      <h2 id="attention-title">Needs attention: {plural(items.length, 'thing')}</h2>
      <ol class="attention">
        {items.map((item) => (
          <li key={item.key} class={`edge-${tones[item.severity]}`}>
            <span class={`level tone-${tones[item.severity]}`}>
              <ToneIcon tone={tones[item.severity]} /> {item.severity}
            </span>
            <div>
              <p>
                {item.coordinator !== undefined && <span class="of">{item.coordinator}: </span>}
                <a href={item.href}>{item.text}</a>
              </p>
              <p class="muted">{item.remedy}</p>
            </div>
            <span class="muted since">for {formatDuration(nowMs - item.sinceMs)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}
