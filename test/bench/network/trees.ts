import { randomUUID } from 'node:crypto';
import type { GenerationRequest, SpeculationUsage } from '../../../coordinator/src/scheduler/generation.ts';
import type { TokenConstraint } from '../../../coordinator/src/scheduler/token-constraint.ts';
import { fables, heldOutStories } from '../load/prompts.ts';
import { Rig } from '../rig.ts';
import type { HeldRow } from '../table.ts';
import { setRoundTrip } from './streams.ts';

const TABS = 2;
const ROUND_TRIP_MS = 20;
const PROMPT_TOKENS = 32;
const TOKENS = 64;
/** On text that the model finds hard, beside the best chain of as many rows. */
const TOKENS_A_PASS_MORE = 1.15;

const TEXTS = { 'held-out stories': heldOutStories().slice(0, 6), 'Aesop’s fables': fables() };

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
  const rig = await Rig.start({ tabs: TABS, coordinator: { speculate: 'mtp' } });
  try {
    await setRoundTrip(rig, ROUND_TRIP_MS);
    const rows: HeldRow[] = [];
    for (const [name, texts] of Object.entries(TEXTS)) {
      for (const temperature of [0, 1]) {
        const isTarget = texts !== TEXTS['held-out stories'];
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
  for (const [seed, text] of texts.entries()) {
    const promptIds = tokenizer.encodePrompt(text).slice(0, PROMPT_TOKENS);
    const asked = { temperature, seed };
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
      measured: `${same} of ${texts.length}`,
      reference: 'all',
      met: same === texts.length,
    },
  ];
}

function noSums(): Sums {
  return { tokens: 0, passes: 0, drafted: 0, ms: 0 };
}

/** The ids of the first tokens of an answer, whose figures are added to `sums`. */
async function measured(
  { coordinator }: Rig,
  promptIds: readonly number[],
  request: Partial<GenerationRequest>,
  sums: Sums,
): Promise<number[]> {
  const { signal } = new AbortController();
  const startedMs = performance.now();
  const ids: number[] = [];
  let usage: SpeculationUsage | undefined;
  // Twice as long as it is read: an answer's last tokens have smaller trees.
  const asked = { id: randomUUID(), promptIds, maxTokens: 2 * TOKENS, topP: 1, ignoreEos: true, signal, ...request };
  for await (const event of coordinator.scheduler.submit({ temperature: 0, seed: 0, ...asked })) {
    if (event.type !== 'token') continue;
    usage = event.token.speculation;
    if (ids.push(event.token.tokenId) === TOKENS) break;
  }
  sums.ms += performance.now() - startedMs;
  sums.tokens += ids.length;
  sums.passes += usage!.passes;
  sums.drafted += usage!.drafted;
  return ids;
}
