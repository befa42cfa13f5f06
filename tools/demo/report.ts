import type { Coordinator } from '../../coordinator/src/index.ts';
import type { Story } from './story.ts';

/** Results of the demo; `--json` prints them unchanged. */
export interface Report {
  model: string;
  quant: string;
  prompt: string;
  text: string;
  tokens: number;
  firstTokenMs: number;
  tokensPerSecond: number;
  /** Share of assignments computed by tabs, 0 to 1; null if there were none. */
  tabShare: number | null;
  /** Share computed by plan in local layers (--local-experts); 1 − both shares was fallback. */
  localLayerShare: number | null;
  lapsPerToken: number | null;
  /** Lap frames of a token's row, both ways, through all laps; minimum: laps × 2 × hidden × 2 B. */
  bytesPerToken: number | null;
  floorBytesPerToken: number;
  medianLapMs: { lap: number | null; queue: number | null; wire: number | null; compute: number | null };
  tabs: {
    peerId: string;
    adapter: string;
    experts: number;
    layers: number[];
    rows: number;
    medianLapMs: number | null;
    shareOfWork: number;
  }[];
}

export function report(coordinator: Coordinator, story: Story, demo: { prompt: string }): Report {
  const { dispatcher } = coordinator;
  const { flow, peers, quant, modelId } = coordinator.snapshots.build();
  return {
    model: modelId,
    quant,
    prompt: demo.prompt,
    text: story.text,
    tokens: story.tokens,
    firstTokenMs: Math.round(story.firstTokenMs),
    tokensPerSecond: round(story.tokens / (story.totalMs / 1000), 1),
    tabShare: flow.tabShare,
    localLayerShare: flow.localLayers.share,
    lapsPerToken: flow.lapsPerToken,
    bytesPerToken: flow.bytesPerToken === null ? null : Math.round(flow.bytesPerToken),
    floorBytesPerToken: flow.floorBytesPerToken,
    medianLapMs: {
      lap: round(dispatcher.figures.lapMs.quantile(0.5), 2),
      queue: round(dispatcher.figures.queueMs.quantile(0.5), 2),
      wire: round(dispatcher.figures.wireMs.quantile(0.5), 2),
      compute: round(dispatcher.figures.computeMs.quantile(0.5), 2),
    },
    tabs: peers.map((peer) => ({
      peerId: peer.peerId,
      adapter: peer.adapter,
      experts: peer.experts,
      layers: peer.layers,
      rows: peer.rows,
      medianLapMs: round(peer.lapMsP50, 2),
      shareOfWork: round(peer.workShare, 4),
    })),
  };
}

export function printTable(result: Report, out: { write(text: string): unknown }): void {
  const rows = [
    ['tab', 'adapter', 'layers', 'experts', 'rows', 'median lap', 'share'],
    ...result.tabs.map((tab) => [
      tab.peerId,
      tab.adapter,
      tab.layers.join(' '),
      String(tab.experts),
      String(tab.rows),
      milliseconds(tab.medianLapMs),
      percent(tab.shareOfWork),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    out.write(
      `${row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd()}\n`,
    );
  const { medianLapMs: lap } = result;
  const facts: [string, string][] = [
    ['tokens', `${result.tokens} at ${result.tokensPerSecond} tokens/s, the first after ${result.firstTokenMs} ms`],
    ['laps per token', result.lapsPerToken === null ? '–' : result.lapsPerToken.toFixed(2)],
    [
      'lap, median',
      `${milliseconds(lap.lap)} = queue ${milliseconds(lap.queue)} + wire ${milliseconds(lap.wire)} + compute ${milliseconds(lap.compute)}`,
    ],
    ['bytes per token', `${bytesText(result)} (floor: laps × 2 × hidden × 2 B)`],
    ['expert work by tabs', result.tabShare === null ? '–' : percent(result.tabShare)],
    ...(result.localLayerShare
      ? [['in layers of its own', percent(result.localLayerShare)] satisfies [string, string]]
      : []),
  ];
  out.write('\n');
  for (const [name, value] of facts) out.write(`${name.padEnd(20)}  ${value}\n`);
}

function bytesText({ bytesPerToken, floorBytesPerToken }: Report): string {
  if (bytesPerToken === null) return `–, floor ${floorBytesPerToken}`;
  return `${bytesPerToken}, floor ${floorBytesPerToken}, ${(bytesPerToken / floorBytesPerToken).toFixed(2)} ×`;
}

function milliseconds(value: number | null): string {
  return value === null ? '–' : `${value.toFixed(2)} ms`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share === 1 ? 0 : 1)} %`;
}

function round(value: number, digits: number): number;
function round(value: number | null, digits: number): number | null;
function round(value: number | null, digits: number): number | null {
  return value === null ? null : Number(value.toFixed(digits));
}
