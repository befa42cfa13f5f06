import { moeLayers } from '@shoal/model';
import { answer } from '../../integration/answers.ts';
import { EngineWatch } from '../engine-watch.ts';
import { heldOutStories } from '../load/prompts.ts';
import { Rig } from '../rig.ts';
import { type HeldRow, median } from '../table.ts';
import { decodeStreams, setRoundTrip, type StreamsResult } from './streams.ts';

const TABS = 2;
const PROMPT_TOKENS = 24;
/** Issue 14's factors beside no drafts. */
const LAPS_FEWER = 4.2;
const RATE_HIGHER = 3.5;
const LAPS_FEWER_SAMPLED = 3.5;
const COLD_HIGHER = 2.5;
const COLD_TOKENS = 20;
const COLD_ROUND_TRIP_MS = 20;

/** What is measured beside no drafts, and by which factor it must be better. */
interface Case {
  figure: string;
  roundTripMs: number;
  streams: number;
  tokens: number;
  temperature: number;
  /** Held-out stories of which each is measured. All streams have different ones. */
  texts: number;
  ignoreEos?: boolean;
  isWhole?: boolean;
  lapsFewer?: number;
  rateHigher?: number;
}

const ONE = { streams: 1, tokens: 64, temperature: 0, texts: 1 } as const;
const ONE_STREAM: readonly Case[] = [
  { ...ONE, figure: 'one greedy stream, 0 ms', roundTripMs: 0 },
  { ...ONE, figure: 'one greedy stream, 5 ms', roundTripMs: 5 },
  {
    ...ONE,
    figure: 'one greedy stream, 20 ms',
    roundTripMs: 20,
    texts: 2,
    lapsFewer: LAPS_FEWER,
    rateHigher: RATE_HIGHER,
  },
  { ...ONE, figure: 'one greedy stream, 50 ms', roundTripMs: 50, lapsFewer: LAPS_FEWER, rateHigher: RATE_HIGHER },
  { ...ONE, figure: 'temperature 1, 20 ms', roundTripMs: 20, texts: 2, temperature: 1, lapsFewer: LAPS_FEWER_SAMPLED },
];
const MANY = { tokens: 128, temperature: 0, texts: 1, ignoreEos: true, isWhole: true } as const;
const MANY_STREAMS: readonly Case[] = [
  { ...MANY, figure: '16 streams, 20 ms', roundTripMs: 20, streams: 16, rateHigher: 2.3 },
  { ...MANY, figure: '16 streams, 0 ms', roundTripMs: 0, streams: 16 },
  { ...MANY, figure: '64 streams, 0 ms', roundTripMs: 0, streams: 64, rateHigher: 1 },
  { ...MANY, figure: '64 streams, 20 ms', roundTripMs: 20, streams: 64, rateHigher: 1 },
  { ...MANY, figure: '64 streams, 50 ms', roundTripMs: 50, streams: 64, rateHigher: 1 },
  { ...MANY, figure: '64 streams, 0 ms, temperature 1', roundTripMs: 0, streams: 64, temperature: 1, rateHigher: 1 },
];

interface Side {
  rig: Rig;
  watch: EngineWatch;
}

/** Results of the same texts without and with drafts. */
interface Pair {
  without: StreamsResult;
  with: StreamsResult;
}

/** Measures one stream on held-out texts with and without speculation, text by text. */
export const speculationRows = (repeats: number): Promise<HeldRow[]> => casesRows(ONE_STREAM, repeats);

/** Measures many streams with and without speculation. */
export const draftedStreamsRows = (repeats: number): Promise<HeldRow[]> => casesRows(MANY_STREAMS, repeats);

async function casesRows(cases: readonly Case[], repeats: number): Promise<HeldRow[]> {
  const off = await side('off');
  const on = await side('auto');
  try {
    const rows: HeldRow[] = [];
    for (const each of cases) {
      for (const { rig } of [off, on]) await setRoundTrip(rig, each.roundTripMs);
      const pairs: Pair[] = [];
      for (let repeat = 0; repeat < repeats; repeat++) {
        for (const prompts of promptsOf(off.rig, each)) {
          const of = ({ rig, watch }: Side): Promise<StreamsResult> => decodeStreams(rig, watch, { ...each, prompts });
          // In turn first and second, because the machine's other load changes.
          const isFirst = pairs.length % 2 === 0;
          const without = isFirst ? await of(off) : undefined;
          const drafted = await of(on);
          pairs.push({ without: without ?? (await of(off)), with: drafted });
        }
      }
      rows.push(...rowsOf(each, pairs, moeLayers(off.rig.coordinator.config).length));
    }
    return rows;
  } finally {
    for (const { rig } of [off, on]) await rig.close();
  }
}

async function side(speculate: 'off' | 'auto' | 'mtp' | 'lookup'): Promise<Side> {
  const rig = await Rig.start({ tabs: TABS, coordinator: { speculate } });
  return { rig, watch: new EngineWatch(rig.coordinator.forward) };
}

/** Beginnings of held-out stories: the prompts of one run after another. */
function promptsOf({ coordinator }: Rig, { streams, texts }: Case): number[][][] {
  const stories = heldOutStories().map((story) => coordinator.tokenizer.encodePrompt(story).slice(0, PROMPT_TOKENS));
  return streams > 1 ? [stories] : stories.slice(0, texts).map((story) => [story]);
}

function rowsOf({ figure, lapsFewer, rateHigher }: Case, pairs: readonly Pair[], laps: number): HeldRow[] {
  const lapsOf = ({ span }: StreamsResult): number => (span.streamPasses * laps) / span.tokens;
  const fewer = median(pairs.map((pair) => lapsOf(pair.without) / lapsOf(pair.with)));
  const higher = median(pairs.map((pair) => pair.with.tokensPerS / pair.without.tokensPerS));
  const middle = (pick: (pair: Pair) => number): string => median(pairs.map(pick)).toFixed(2);
  const same = pairs.filter((pair) => String(pair.with.ids) === String(pair.without.ids)).length;
  return [
    {
      figure: `drafts, ${figure}: laps per token`,
      measured: `${middle((pair) => lapsOf(pair.with))}: × ${fewer.toFixed(2)} fewer`,
      reference: `${middle((pair) => lapsOf(pair.without))} without${target(lapsFewer)}`,
      ...(lapsFewer !== undefined && { met: fewer >= lapsFewer }),
    },
    {
      figure: '  tokens/s',
      measured: `${middle((pair) => pair.with.tokensPerS)}: × ${higher.toFixed(2)}`,
      reference: `${middle((pair) => pair.without.tokensPerS)} without${target(rateHigher)}`,
      ...(rateHigher !== undefined && { met: higher >= rateHigher }),
    },
    {
      figure: '  runs whose texts are the same to the last token',
      measured: `${same} of ${pairs.length}`,
      reference: 'all',
      met: same === pairs.length,
    },
  ];
}

function target(factor: number | undefined): string {
  return factor === undefined ? '' : `; ≥ × ${factor}`;
}

/** What the first answer of a coordinator took, up to its `COLD_TOKENS`th token. */
interface ColdAnswer {
  laps: number;
  tokensPerS: number;
}

/** Measures the first tokens of coordinators that have just started, with and without drafts. */
export async function coldStartRows(repeats: number): Promise<HeldRow[]> {
  const pairs: { without: ColdAnswer; with: ColdAnswer }[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    pairs.push({ without: await coldAnswer('off', repeat), with: await coldAnswer('auto', repeat) });
  }
  const fewer = median(pairs.map((pair) => pair.without.laps / pair.with.laps));
  const higher = median(pairs.map((pair) => pair.with.tokensPerS / pair.without.tokensPerS));
  const all = (pick: (answer: ColdAnswer) => number): string =>
    pairs.map((pair) => pick(pair.with).toFixed(1)).join(', ');
  const reference = `beside no drafts; ≥ × ${COLD_HIGHER}`;
  return [
    {
      figure: `drafts, cold start, first ${COLD_TOKENS} tokens, ${COLD_ROUND_TRIP_MS} ms: laps`,
      measured: `${all(({ laps }) => laps)}: × ${fewer.toFixed(2)} fewer`,
      reference,
      met: fewer >= COLD_HIGHER,
    },
    {
      figure: '  tokens/s after the first token',
      measured: `${all(({ tokensPerS }) => tokensPerS)}: × ${higher.toFixed(2)}`,
      reference,
      met: higher >= COLD_HIGHER,
    },
  ];
}

async function coldAnswer(speculate: 'off' | 'auto', text: number): Promise<ColdAnswer> {
  const rig = await Rig.start({ tabs: TABS, coordinator: { speculate } });
  try {
    rig.setLine({ roundTripMs: COLD_ROUND_TRIP_MS, loss: 0 });
    const { coordinator } = rig;
    const { scheduler, config, tokenizer } = coordinator;
    const prompt = tokenizer.encodePrompt(heldOutStories()[text % heldOutStories().length]!).slice(0, PROMPT_TOKENS);
    const atMs: number[] = [];
    let passes = scheduler.passes;
    await answer(coordinator, prompt, {
      maxTokens: 2 * COLD_TOKENS,
      onToken: (_, index) => {
        atMs.push(performance.now());
        if (index === COLD_TOKENS - 1) passes = scheduler.passes - passes;
      },
    });
    const ms = atMs[COLD_TOKENS - 1]! - atMs[0]!;
    return { laps: passes * moeLayers(config).length, tokensPerS: (1000 * (COLD_TOKENS - 1)) / ms };
  } finally {
    await rig.close();
  }
}

/** A table of what each drafter costs and gives: one greedy stream at 20 ms. Published drafters need models that they fit. */
export async function drafterRows(repeats: number): Promise<HeldRow[]> {
  const rows: HeldRow[] = [];
  for (const mode of ['off', 'lookup', 'mtp', 'auto'] as const) {
    const { rig, watch } = await side(mode);
    try {
      const { scheduler, config } = rig.coordinator;
      await setRoundTrip(rig, COLD_ROUND_TRIP_MS);
      const sums = { tokens: 0, passes: 0, rows: 0, bytes: 0 };
      for (let repeat = 0; repeat < repeats; repeat++) {
        for (const prompts of promptsOf(rig, { ...ONE, figure: mode, roundTripMs: COLD_ROUND_TRIP_MS, texts: 2 })) {
          const before = scheduler.rows;
          const { span } = await decodeStreams(rig, watch, { ...ONE, prompts });
          sums.tokens += span.tokens;
          sums.passes += span.streamPasses;
          sums.bytes += span.wireBytes;
          // The prompt's rows are not the answer's.
          sums.rows += scheduler.rows - before - prompts[0]!.length;
        }
      }
      const per = (what: number, of: number): string => (what / of).toFixed(2);
      const laps = sums.passes * moeLayers(config).length;
      rows.push({
        figure: `drafter ${mode}: tokens a pass, rows a token`,
        measured: `${per(sums.tokens, sums.passes)}, ${per(sums.rows, sums.tokens)}`,
        reference: `${per(laps, sums.tokens)} laps and ${(sums.bytes / sums.tokens).toFixed(0)} bytes a token of the answer`,
      });
    } finally {
      await rig.close();
    }
  }
  return rows;
}
