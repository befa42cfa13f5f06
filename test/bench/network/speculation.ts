import { moeLayers } from '@shoal/model';
import { EngineWatch } from '../engine-watch.ts';
import { heldOutStories } from '../load/prompts.ts';
import { Rig } from '../rig.ts';
import { type HeldRow, median } from '../table.ts';
import { decodeStreams, setRoundTrip, type StreamsResult } from './streams.ts';

const TABS = 2;
const PROMPT_TOKENS = 24;
const PROMPTS = 3;
const TOKENS = 64;
const ROUND_TRIPS_MS = [0, 5, 20, 50] as const;
/** The round trip of the targets; the others are measured once, with one text. */
const TARGET_ROUND_TRIP_MS = 20;
const LAPS_FEWER = 1.8;
const RATE_HIGHER = 1.6;

interface Side {
  rig: Rig;
  watch: EngineWatch;
}

/** Results of one held-out text without and with drafts. */
interface Pair {
  without: StreamsResult;
  with: StreamsResult;
}

/** Measures one greedy stream on held-out texts with and without speculation, text by text. */
export async function speculationRows(repeats: number): Promise<HeldRow[]> {
  const off = await side('off');
  const on = await side('auto');
  try {
    const { tokenizer, config } = off.rig.coordinator;
    const prompts = heldOutStories()
      .slice(0, PROMPTS)
      .map((story) => tokenizer.encodePrompt(story).slice(0, PROMPT_TOKENS));
    const rows: HeldRow[] = [];
    for (const roundTripMs of ROUND_TRIPS_MS) {
      const isTarget = roundTripMs === TARGET_ROUND_TRIP_MS;
      const pairs: Pair[] = [];
      for (const { rig } of [off, on]) await setRoundTrip(rig, roundTripMs);
      for (let repeat = 0; repeat < (isTarget ? repeats : 1); repeat++) {
        for (const prompt of isTarget ? prompts : prompts.slice(0, 1)) {
          const of = ({ rig, watch }: Side): Promise<StreamsResult> =>
            decodeStreams(rig, watch, { streams: 1, tokens: TOKENS, prompts: [prompt] });
          pairs.push({ without: await of(off), with: await of(on) });
        }
      }
      rows.push(...rowsOf(roundTripMs, pairs, moeLayers(config).length, isTarget));
    }
    return rows;
  } finally {
    for (const { rig } of [off, on]) await rig.close();
  }
}

async function side(speculate: 'off' | 'auto'): Promise<Side> {
  const rig = await Rig.start({ tabs: TABS, coordinator: { speculate } });
  return { rig, watch: new EngineWatch(rig.coordinator.forward) };
}

function rowsOf(roundTripMs: number, pairs: readonly Pair[], laps: number, isTarget: boolean): HeldRow[] {
  const lapsOf = ({ span }: StreamsResult): number => (span.streamPasses * laps) / span.tokens;
  const fewer = median(pairs.map((pair) => lapsOf(pair.without) / lapsOf(pair.with)));
  const higher = median(pairs.map((pair) => pair.with.tokensPerS / pair.without.tokensPerS));
  const middle = (pick: (pair: Pair) => number): string => median(pairs.map(pick)).toFixed(2);
  const same = pairs.filter((pair) => String(pair.with.ids) === String(pair.without.ids)).length;
  return [
    {
      figure: `speculation on held-out text, ${roundTripMs} ms: laps per token`,
      measured: `${middle((pair) => lapsOf(pair.with))}: × ${fewer.toFixed(2)} fewer`,
      reference: `${middle((pair) => lapsOf(pair.without))} without${isTarget ? `; ≥ × ${LAPS_FEWER} fewer` : ''}`,
      ...(isTarget && { met: fewer >= LAPS_FEWER }),
    },
    {
      figure: '  tokens/s',
      measured: `${middle((pair) => pair.with.tokensPerS)}: × ${higher.toFixed(2)}`,
      reference: `${middle((pair) => pair.without.tokensPerS)} without${isTarget ? `; ≥ × ${RATE_HIGHER}` : ''}`,
      ...(isTarget && { met: higher >= RATE_HIGHER }),
    },
    {
      figure: '  texts that are the same to the last token',
      measured: `${same} of ${pairs.length}`,
      reference: 'all',
      met: same === pairs.length,
    },
  ];
}
