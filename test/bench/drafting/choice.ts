import {
  type DraftingResult,
  type FixedChoice,
  runDrafting,
} from '../../../coordinator/src/scheduler/testing/drafting-run.ts';
import {
  WORLD_COSTS,
  WORLD_TEXTS,
  type WorldTextName,
} from '../../../coordinator/src/scheduler/testing/drafting-worlds.ts';
import { formatHeldRows, type HeldRow } from '../table.ts';

const ROUND_TRIPS_MS = [0, 5, 20, 50, 100];
const STREAMS = [1, 4, 16, 64];
/** Of the best fixed choice, and on hopeless text of no drafts. */
const WITHIN = 0.95;
const HOPELESS_WITHIN = 0.97;

const NOTHING: FixedChoice = { by: 'nothing', drafts: 0 };
const chains = [1, 2, 4, 8, 16, 32].map((drafts): FixedChoice => ({ by: 'chain', drafts }));
const trees = [8, 16, 32].map((drafts): FixedChoice => ({ by: 'tree', drafts }));
const texts = [8, 32].map((drafts): FixedChoice => ({ by: 'texts', drafts }));

interface Cell {
  roundTripMs: number;
  streams: number;
  text: WorldTextName;
}

/** Answers enough for some hundred passes, and of many streams fewer tokens each. */
const SIZES: Readonly<Record<number, { tokens: number; answers: number }>> = {
  1: { tokens: 200, answers: 5 },
  4: { tokens: 160, answers: 4 },
  16: { tokens: 128, answers: 3 },
  64: { tokens: 96, answers: 3 },
};

/**
 * Measures the choice of drafter, depth and width beside all fixed choices, in a world on virtual time: no noise but its own.
 * `only` is a part of the cells' names.
 */
export async function benchChoice({
  json,
  repeats,
  only,
}: {
  json: boolean;
  repeats: number;
  only?: string;
}): Promise<void> {
  const rows: HeldRow[] = [];
  for (const roundTripMs of ROUND_TRIPS_MS) {
    for (const streams of STREAMS) {
      for (const text of Object.keys(WORLD_TEXTS) as WorldTextName[]) {
        const name = `${roundTripMs} ms, ${streams} streams, ${text}`;
        if (only !== undefined && !name.includes(only)) continue;
        const row = await rowOf(name, { roundTripMs, streams, text }, repeats);
        process.stderr.write(`${row.figure}: ${row.measured}${row.met ? '' : ' (missed)'}\n`);
        rows.push(row);
      }
    }
  }
  const missed = rows.filter(({ met }) => met === false).length;
  if (json) process.stdout.write(`${JSON.stringify({ rows }, null, 2)}\n`);
  else
    process.stdout.write(`${formatHeldRows(rows)}\n\n${rows.length - missed} of ${rows.length} within the bounds.\n`);
}

async function rowOf(figure: string, cell: Cell, repeats: number): Promise<HeldRow> {
  const own = await measured(cell, undefined, repeats);
  const none = await measured(cell, NOTHING, repeats);
  let best = { choice: NOTHING, ...none };
  for (const choice of choicesOf(cell)) {
    const result = await measured(cell, choice, repeats);
    if (result.tokensPerS > best.tokensPerS) best = { choice, ...result };
  }
  const share = own.tokensPerS / best.tokensPerS;
  const overNone = own.tokensPerS / none.tokensPerS;
  const met = share >= WITHIN && (cell.text !== 'hopeless' || overNone >= HOPELESS_WITHIN);
  const { by, drafts } = best.choice;
  return {
    figure,
    measured: `${own.tokensPerS.toFixed(0)}/s: × ${share.toFixed(3)} (${own.draftsPerToken.toFixed(2)} drafts a token)`,
    reference: `${best.tokensPerS.toFixed(0)}/s by ${by === 'nothing' ? by : `${by} of ${drafts}`}; × ${overNone.toFixed(2)} of no drafts`,
    met,
  };
}

/** Many streams have no use for many drafts, and texts that do not repeat themselves none for texts. */
function choicesOf({ streams, text }: Cell): FixedChoice[] {
  const most = streams === 64 ? 8 : streams === 16 ? 16 : 32;
  return [...(text === 'repeats' ? texts : []), ...[...chains, ...trees].filter(({ drafts }) => drafts <= most)];
}

async function measured(
  { roundTripMs, streams, text }: Cell,
  fixed: FixedChoice | undefined,
  repeats: number,
): Promise<DraftingResult> {
  const results: DraftingResult[] = [];
  for (let seed = 1; seed <= repeats; seed++) {
    const costs = { ...WORLD_COSTS, roundTripMs };
    results.push(await runDrafting({ costs, text: WORLD_TEXTS[text], streams, ...SIZES[streams]!, seed, fixed }));
  }
  const mean = (pick: (result: DraftingResult) => number): number =>
    results.reduce((sum, result) => sum + pick(result), 0) / results.length;
  return {
    ...results[0]!,
    tokensPerS: mean((each) => each.tokensPerS),
    draftsPerToken: mean((each) => each.draftsPerToken),
  };
}
