import { randomUUID } from 'node:crypto';
import { openWasmEngine } from '@shoal/kernels/node';
import { type ExpertDispatch, type ForwardEngine, moeLayers } from '@shoal/model';
import type { GenerationRequest, SpeculationUsage } from '../../../coordinator/src/scheduler/generation.ts';
import { Scheduler } from '../../../coordinator/src/scheduler/scheduler.ts';
import type { TokenConstraint } from '../../../coordinator/src/scheduler/token-constraint.ts';
import { openTinyStories, type TinyStories } from '../../golden/tiny-stories.ts';
import { fables, heldOutStories } from '../load/prompts.ts';
import type { HeldRow } from '../table.ts';

/** On the scheduler's clock only laps and calls of the module take time, so that all rows that a pass may have are used. */
const LAP_MS = 20;
const DRAFT_MS = 1;
/** Rows of a pass at most, the last known token's included; 33 are those of the default `--max-drafts`. */
const ROWS = [8, 16, 33];
/** On text that the model finds hard, beside the best chain of as many rows. */
const TOKENS_A_PASS_MORE = 1.15;
/** Passes of fewer rows gain less: a chain's first drafts are the likeliest. */
const TARGET_ROWS = 16;
const PROMPT_TOKENS = 32;
const TOKENS = 64;
const LIMITS = { maxBatch: 1, maxQueue: 1, promptLaps: 2, microBatches: 1, deviceLimit: 0 } as const;

const TEXTS = { stories: heldOutStories().slice(0, 6), fables: fables() };

interface Sums {
  tokens: number;
  passes: number;
  drafted: number;
}

/** Measures tokens a pass with chains and trees of drafts by the MTP module: counts only, so that no network is needed. */
export async function treeRows(): Promise<HeldRow[]> {
  const tiny = await openTinyStories();
  const { checkpoint, model } = tiny;
  const weights = { reader: checkpoint, format: 'f16' } as const;
  const forward = await openWasmEngine({ config: model.config, weights });
  try {
    const rows: HeldRow[] = [];
    for (const most of ROWS) {
      const scheduler = schedulerOf(forward, tiny, most);
      for (const temperature of [0, 1]) {
        for (const name of ['stories', 'fables'] as const) {
          rows.push(...(await compared(scheduler, tiny, { name, temperature, most })));
        }
      }
    }
    return rows;
  } finally {
    await forward.close();
    await checkpoint.close();
  }
}

function schedulerOf(forward: ForwardEngine, { experts, model }: TinyStories, rows: number): Scheduler {
  let nowMs = 0;
  const dispatch: ExpertDispatch = {
    dispatch: (call) => ({
      combine: async () => {
        nowMs += call.layer === model.config.numHiddenLayers ? DRAFT_MS : LAP_MS;
        return experts.dispatch(call).combine();
      },
    }),
  };
  return new Scheduler({
    modelId: 'tiny-stories',
    forward,
    experts: { batch: () => dispatch },
    limits: LIMITS,
    lapsPerPass: moeLayers(model.config).length,
    now: () => nowMs,
    speculation: { mode: 'mtp', maxDrafts: rows - 1, hasMtpExperts: true, lapsPerDraft: 0 },
  });
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

async function compared(
  scheduler: Scheduler,
  { tokenizer }: TinyStories,
  { name, temperature, most }: { name: keyof typeof TEXTS; temperature: number; most: number },
): Promise<HeldRow[]> {
  const texts = TEXTS[name];
  const chains: Sums = { tokens: 0, passes: 0, drafted: 0 };
  const trees: Sums = { tokens: 0, passes: 0, drafted: 0 };
  let same = 0;
  for (const [seed, text] of texts.entries()) {
    const promptIds = tokenizer.encodePrompt(text).slice(0, PROMPT_TOKENS);
    const asked = { promptIds, temperature, seed };
    const chain = await measured(scheduler, { ...asked, constraint: anyToken() }, chains);
    const tree = await measured(scheduler, asked, trees);
    if (String(chain) === String(tree)) same++;
  }
  const perPass = ({ tokens, passes }: Sums): number => tokens / passes;
  const rowsOf = ({ drafted, passes }: Sums): string => (1 + drafted / passes).toFixed(1);
  const more = perPass(trees) / perPass(chains);
  const isTarget = name === 'fables' && most >= TARGET_ROWS;
  const target = isTarget ? `; ≥ × ${TOKENS_A_PASS_MORE}` : '';
  return [
    {
      figure: `trees of ${most} rows, ${name}, temperature ${temperature}: tokens a pass`,
      measured: `${perPass(trees).toFixed(2)} (${rowsOf(trees)} rows): × ${more.toFixed(2)}`,
      reference: `${perPass(chains).toFixed(2)} (${rowsOf(chains)} rows) in chains${target}`,
      ...(isTarget && { met: more >= TOKENS_A_PASS_MORE }),
    },
    {
      figure: '  texts that are the same to the last token',
      measured: `${same} of ${texts.length}`,
      reference: 'all',
      met: same === texts.length,
    },
  ];
}

/** The ids of the first tokens of an answer, whose figures are added to `sums`. */
async function measured(
  scheduler: Scheduler,
  asked: Partial<GenerationRequest> & Pick<GenerationRequest, 'promptIds' | 'temperature' | 'seed'>,
  sums: Sums,
): Promise<number[]> {
  const id = randomUUID();
  const { signal } = new AbortController();
  const ids: number[] = [];
  let usage: SpeculationUsage | undefined;
  // Twice as long as it is read: an answer's last tokens have smaller trees. No prefix is shared, since the prompts come again.
  const limits = { maxTokens: 2 * TOKENS, topP: 1, ignoreEos: true, cacheScope: id };
  for await (const event of scheduler.submit({ id, signal, ...limits, ...asked })) {
    if (event.type !== 'token') continue;
    usage = event.token.speculation;
    if (ids.push(event.token.tokenId) === TOKENS) break;
  }
  sums.tokens += ids.length;
  sums.passes += usage!.passes;
  sums.drafted += usage!.drafted;
  return ids;
}
