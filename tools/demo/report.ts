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

type Out = { write(text: string): unknown };

/** What the columns of the table of tabs say. */
const COLUMNS: readonly (readonly [name: string, meaning: string])[] = [
  ['tab', 'a browser tab that lent its GPU'],
  ['adapter', 'what it computes with; "software" means that this machine has no GPU, and everything is slower'],
  ['layers', 'the layers of the model of which it holds experts'],
  ['experts', 'how many it holds; each is a small network, of which every word uses a few'],
  ['rows', 'how many vectors they have computed for this story'],
  ['median lap', 'from sending it a layer’s vectors to having the results back'],
  ['share', 'its part of all experts’ work'],
];

/** Which tab did what, the figures of the story, and what each of them means. */
export function printTable(result: Report, out: Out): void {
  if (result.tabs.length > 0) {
    out.write('Which tab computed what:\n\n');
    writeColumns(
      [
        COLUMNS.map(([name]) => name),
        ...result.tabs.map((tab) => [
          tab.peerId,
          tab.adapter,
          tab.layers.join(' '),
          String(tab.experts),
          String(tab.rows),
          milliseconds(tab.medianLapMs),
          percent(tab.shareOfWork),
        ]),
      ],
      out,
    );
    out.write('\n');
    writeColumns(
      COLUMNS.map(([name, meaning]) => [`  ${name}`, meaning]),
      out,
    );
    out.write('\n');
  }
  writeColumns(figuresOf(result), out);
}

/** Name, value and meaning of each figure. */
function figuresOf(result: Report): string[][] {
  const { medianLapMs: lap } = result;
  const parts = `queue ${milliseconds(lap.queue)} + wire ${milliseconds(lap.wire)} + compute ${milliseconds(lap.compute)}`;
  return [
    ['tokens', String(result.tokens), 'pieces of words that were written'],
    ['speed', `${result.tokensPerSecond} tokens/s`, `the first after ${result.firstTokenMs} ms`],
    [
      'laps per token',
      result.lapsPerToken === null ? '–' : result.lapsPerToken.toFixed(2),
      'round trips to tabs; guessed words share them',
    ],
    ['lap, median', milliseconds(lap.lap), parts],
    ['bytes per token', ...bytesText(result)],
    [
      'work by tabs',
      result.tabShare === null ? '–' : percent(result.tabShare),
      'of the experts’ work; the rest is the coordinator’s',
    ],
    ...(result.localLayerShare
      ? [['in its own layers', percent(result.localLayerShare), 'of that work, by the coordinator (--local-experts)']]
      : []),
  ];
}

function writeColumns(rows: readonly (readonly string[])[], out: Out): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows) {
    const cells = row.map((cell, i) => cell.padEnd(widths[i]!));
    out.write(`${cells.join('  ').trimEnd()}\n`);
  }
}

function bytesText({ bytesPerToken, floorBytesPerToken }: Report): [value: string, meaning: string] {
  const floor = `it can’t be less than ${floorBytesPerToken}: laps × 2 × hidden size × 2 B`;
  if (bytesPerToken === null) return ['–', floor];
  return [`${bytesPerToken}`, `to tabs and back; ${floor}`];
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
