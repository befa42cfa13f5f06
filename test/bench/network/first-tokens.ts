import { answer } from '../../integration/answers.ts';
import { heldOutStories } from '../load/prompts.ts';
import { Rig } from '../rig.ts';
import { type HeldRow, median } from '../table.ts';
import { setRoundTrip } from './streams.ts';

const PROMPTS = 16;
const PROMPT_TOKENS = 12;
const ANSWER_TOKENS = 16;
/** Sixteen wait at most this many times as long as one does. */
const AT_MOST = 6;
const ROUND_TRIP_MS = 20;
const TABS = 2;

interface Wait {
  alone: number;
  together: number;
}

/** Measures how long sixteen short prompts that come at once wait for their first tokens, beside one alone. */
export async function firstTokenRows(repeats: number): Promise<HeldRow[]> {
  const rows: HeldRow[] = [];
  for (const tabs of [0, TABS]) {
    const rig = await Rig.start({ tabs });
    try {
      if (tabs > 0) await setRoundTrip(rig, ROUND_TRIP_MS);
      rows.push(await measure(rig, tabs > 0 ? `${tabs} tabs at ${ROUND_TRIP_MS} ms` : 'without tabs', repeats));
    } finally {
      await rig.close();
    }
  }
  return rows;
}

async function measure(rig: Rig, where: string, repeats: number): Promise<HeldRow> {
  const prompts = prefixFree(rig, (repeats + 1) * (PROMPTS + 1));
  const waits: Wait[] = [];
  // The first round only warms up.
  for (let round = 0; round <= repeats; round++) {
    const mine = prompts.splice(0, PROMPTS + 1);
    const wait = { alone: await meanWaitMs(rig, mine.slice(0, 1)), together: await meanWaitMs(rig, mine.slice(1)) };
    if (round > 0) waits.push(wait);
  }
  const ratio = median(waits.map(({ alone, together }) => together / alone));
  const ms = (pick: keyof Wait): string => median(waits.map((wait) => wait[pick])).toFixed(1);
  return {
    figure: `first tokens of ${PROMPTS} short prompts that come at once, ${where}`,
    measured: `${ms('together')} ms: × ${ratio.toFixed(1)}`,
    reference: `${ms('alone')} ms alone; ≤ × ${AT_MOST}`,
    met: ratio <= AT_MOST,
  };
}

/** Prompts of which no two begin alike, so that none finds a part of itself computed. */
function prefixFree({ coordinator }: Rig, count: number): number[][] {
  const ids = heldOutStories().flatMap((story) => coordinator.tokenizer.encodePrompt(story));
  return Array.from({ length: count }, (_, i) => ids.slice(i * PROMPT_TOKENS, (i + 1) * PROMPT_TOKENS));
}

/**
 * The mean wait for first tokens, as the scheduler counts it. Each request comes in a turn of the event loop of its own, as over
 * connections, so that the first one's pass has begun when the others come.
 */
async function meanWaitMs({ coordinator }: Rig, prompts: readonly number[][]): Promise<number> {
  const { latency } = coordinator.scheduler;
  const waits: number[] = [];
  const note = (wait: string, ms: number): void => void (wait === 'firstToken' && waits.push(ms));
  latency.events.on('wait', note);
  const asked: Promise<unknown>[] = [];
  for (const prompt of prompts) {
    asked.push(answer(coordinator, prompt, { maxTokens: ANSWER_TOKENS }));
    await new Promise(setImmediate);
  }
  await Promise.all(asked);
  latency.events.off('wait', note);
  return waits.reduce((a, b) => a + b) / waits.length;
}
