import type { FlowView } from '@shoal/protocol';
import { Chart } from '../Chart.tsx';
import { Against, Figure } from '../Figure.tsx';
import {
  formatBytes,
  formatCount,
  formatFigure,
  formatMemory,
  formatMs,
  formatNumber,
  formatRanges,
  formatShare,
  plural,
} from '../format.ts';

export function Flow({ flow }: { flow: FlowView }) {
  return (
    <section class="card" id="flow" aria-labelledby="flow-title" tabIndex={-1}>
      <h2 id="flow-title">Flow</h2>
      <div class="flow">
        <div class="wide">
          <h3>Tokens per second, last 120 s</h3>
          <Chart values={flow.tokensPerSecondHistory} unit="tokens/s" label="Tokens per second" heightPx={150} />
          <p class="muted">{formatNumber(flow.tokensTotal)} tokens since start</p>
        </div>
        <TimeSplit split={flow.timeSplitMs} />
        <div>
          <h3>Laps per token</h3>
          <Against
            rows={[
              reading('measured', flow.lapsPerToken, formatCount),
              { ...reading('one token per pass', flow.floorLapsPerToken, formatCount), kind: 'reference' },
            ]}
          />
          <p class="muted">{draftsText(flow.drafts)}</p>
        </div>
        <div>
          <h3>Bytes per token on the wire{times(flow.bytesPerToken, flow.floorBytesPerToken)}</h3>
          <Against
            rows={[
              reading('measured', flow.bytesPerToken, formatBytes),
              { ...reading('floor', flow.floorBytesPerToken, formatBytes), kind: 'reference' },
            ]}
          />
        </div>
        <div>
          <h3>Expert work done by tabs</h3>
          <p class="big">
            <Figure value={flow.tabShare} format={formatShare} why="No expert work since the coordinator started" />
          </p>
          <span class="track" aria-hidden="true">
            <span class="bar ours" style={{ width: `${(flow.tabShare ?? 0) * 100}%` }} />
          </span>
          <p class="muted">
            Uncovered work: {formatNumber(flow.uncoveredWork)} assignments computed by the coordinator because no tab
            could. {plural(flow.uncoveredExperts, 'expert')} on no tab.
          </p>
          {localLayersText(flow.localLayers).map((text) => (
            <p class="muted">{text}</p>
          ))}
          <p class="muted">{auditsText(flow.audits)}</p>
        </div>
        <div>
          <h3>KV cache per token{times(flow.mhaBytesPerToken, flow.kvBytesPerToken, 'smaller')}</h3>
          <Against
            rows={[
              reading('latent (ours)', flow.kvBytesPerToken, formatMemory),
              { ...reading('plain attention', flow.mhaBytesPerToken, formatMemory), kind: 'reference' },
            ]}
          />
          <p class="muted">{formatMemory(flow.kvBytesInUse)} in use now</p>
        </div>
      </div>
    </section>
  );
}

function draftsText({ drafted, accepted }: FlowView['drafts']): string {
  if (drafted === 0) return 'No tokens have been drafted.';
  return `${formatNumber(accepted)} of ${formatNumber(drafted)} drafted tokens were right and saved a pass each.`;
}

function localLayersText({ layers, bytes, share, draftWork }: FlowView['localLayers']): string[] {
  const texts: string[] = [];
  if (layers.length > 0) {
    const which = `${layers.length === 1 ? 'layer' : 'layers'} ${formatRanges(layers)}`;
    const work = share === null ? '' : `, ${formatShare(share)} of the expert work`;
    texts.push(`Local ${which} (${formatMemory(bytes)})${work}: computed by the coordinator by plan, without laps.`);
  }
  if (draftWork > 0)
    texts.push(`Drafts: ${formatNumber(draftWork)} assignments on the coordinator, not in these shares.`);
  return texts;
}

function auditsText({ comparedRows, wrongRows, uncheckedRows, keptOut }: FlowView['audits']): string {
  const compared = `Audits: ${formatNumber(comparedRows)} rows from tabs compared, ${formatNumber(wrongRows)} wrong.`;
  if (wrongRows === 0 && keptOut === 0) return compared;
  return `${compared} ${formatNumber(uncheckedRows)} unchecked rows from tabs that were later caught are in answers. In quarantine: ${plural(keptOut, 'donor or address', 'donors or addresses')}.`;
}

function reading(name: string, value: number | null, format: (value: number) => string) {
  return { name, value, text: value === null ? '' : format(value), kind: 'ours' as const };
}

function times(value: number | null, reference: number, word?: string): string {
  if (value === null || value <= 0 || reference <= 0) return '';
  return word ? `, ${formatFigure(value / reference)} × ${word}` : `, ${formatFigure(value / reference)} × the floor`;
}

const parts = [
  { key: 'engine', name: 'engine', what: 'attention, gate and head, on the coordinator' },
  { key: 'queue', name: 'queue', what: 'waiting before laps are sent' },
  { key: 'wire', name: 'wire', what: 'on the way to tabs and back' },
  { key: 'compute', name: 'compute', what: 'experts on the tabs’ GPUs' },
  { key: 'localLayers', name: 'local layers', what: 'experts of local layers, on the coordinator' },
] as const;

function TimeSplit({ split }: { split: FlowView['timeSplitMs'] }) {
  const total = parts.reduce((sum, part) => sum + (split[part.key] ?? 0), 0);
  return (
    <div class="split">
      <h3>Time of one forward pass{total > 0 ? `, ${formatMs(total)}` : ''}</h3>
      <div class="stack" aria-hidden="true">
        {parts.map((part) => (
          <span class={`part-${part.key}`} style={{ flexGrow: total > 0 ? (split[part.key] ?? 0) / total : 0 }} />
        ))}
      </div>
      <dl class="stack-legend">
        {parts.map((part) => (
          <div title={part.what}>
            <dt>
              <span class={`swatch part-${part.key}`} aria-hidden="true" /> {part.name}
            </dt>
            <dd>
              <Figure value={split[part.key]} format={formatMs} why={`Not measured: ${part.what}`} />
            </dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
