import type { TokenConstraint } from '../../../coordinator/src/scheduler/token-constraint.ts';
import { answer } from '../../integration/answers.ts';
import { fables, heldOutStories } from '../load/prompts.ts';
import { Rig } from '../rig.ts';
import type { HeldRow } from '../table.ts';
import { setRoundTrip } from './streams.ts';

const TABS = 2;
/** Long enough that a row costs little beside a lap, so that trees may be large. */
const ROUND_TRIP_MS = 50;
const MAX_DRAFTS = 15;
const PROMPTS = 6;
const PROMPT_TOKENS = 32;
const TOKENS = 64;
/** On text that the model finds hard, beside the best chain of as many rows. */
const TOKENS_A_PASS_MORE = 1.15;

interface Sums {
  tokens: number;
  passes: number;
  drafted: number;
  ms: number;
}

/** Allows everything: the drafts of an answer with a constraint are a chain. */
function anyToken(): TokenConstraint {
  return {
    allowedDrafts: async (drafts) => drafts.length,
    masks: async (drafts) => Array.from({ length: drafts.length + 1 }, () => undefined),
    accept: () => {},
    close: () => {},
  };
}

/** Measures chains and trees of drafts by the MTP module, text by text, on easy text and on hard. */
export async function treeRows(): Promise<HeldRow[]> {
  const rig = await Rig.start({ tabs: TABS, coordinator: { speculate: 'auto', maxDrafts: MAX_DRAFTS } });
  try {
    await setRoundTrip(rig, ROUND_TRIP_MS);
    const rows: HeldRow[] = [];
    for (const [name, texts] of Object.entries({ 'held-out stories': heldOutStories(), 'Aesop’s fables': fables() })) {
      for (const temperature of [0, 1]) {
        const isTarget = name !== 'held-out stories';
        rows.push(...(await compared(rig, `${name}, temperature ${temperature}`, texts, temperature, isTarget)));
      }
    }
    return rows;
  } finally {
    await rig.close();
  }
}

async function compared(
  rig: Rig,
  name: string,
  texts: readonly string[],
  temperature: number,
  isTarget: boolean,
): Promise<HeldRow[]> {
  const { tokenizer } = rig.coordinator;
  const [chains, trees] = [noSums(), noSums()];
  let same = 0;
  for (const [seed, text] of texts.slice(0, PROMPTS).entries()) {
    const promptIds = tokenizer.encodePrompt(text).slice(0, PROMPT_TOKENS);
    const asked = { maxTokens: TOKENS, temperature, seed, ignoreEos: true };
    const chain = await measured(rig, promptIds, { ...asked, constraint: anyToken() }, chains);
    const tree = await measured(rig, promptIds, asked, trees);
    if (String(chain) === String(tree)) same++;
  }
  const perPass = (sums: Sums): number => sums.tokens / sums.passes;
  const perSecond = (sums: Sums): number => (1000 * sums.tokens) / sums.ms;
  const rowsAPass = (sums: Sums): string => (1 + sums.drafted / sums.passes).toFixed(1);
  const more = perPass(trees) / perPass(chains);
  const faster = perSecond(trees) / perSecond(chains);
  return [
    {
      figure: `trees on ${name}, ${ROUND_TRIP_MS} ms: tokens a pass`,
      measured: `${perPass(trees).toFixed(2)} of ${rowsAPass(trees)} rows: × ${more.toFixed(2)}`,
      reference: `${perPass(chains).toFixed(2)} of ${rowsAPass(chains)} in chains${isTarget ? `; ≥ × ${TOKENS_A_PASS_MORE}` : ''}`,
      ...(isTarget && { met: more >= TOKENS_A_PASS_MORE }),
    },
    {
      figure: '  tokens/s',
      measured: `${perSecond(trees).toFixed(1)}: × ${faster.toFixed(2)}`,
      reference: `${perSecond(chains).toFixed(1)} in chains`,
    },
    {
      figure: '  texts that are the same to the last token',
      measured: `${same} of ${PROMPTS}`,
      reference: 'all',
      met: same === PROMPTS,
    },
  ];
}

function noSums(): Sums {
  return { tokens: 0, passes: 0, drafted: 0, ms: 0 };
}

/** The ids of one answer, whose figures are added to `sums`. */
async function measured(
  rig: Rig,
  promptIds: readonly number[],
  request: Parameters<typeof answer>[2],
  sums: Sums,
): Promise<number[]> {
  const startedMs = performance.now();
  const { ids, events } = await answer(rig.coordinator, promptIds, request);
  sums.ms += performance.now() - startedMs;
  const finish = events.at(-1)!;
  const usage = finish.type === 'finish' ? finish.speculation : undefined;
  sums.tokens += ids.length;
  sums.passes += usage!.passes;
  sums.drafted += usage!.drafted;
  return ids;
}
