import type { PassCosts } from '../batch/pass-costs.ts';
import { Scheduler } from '../scheduler.ts';
import { candidateFromText, type Choice, type DraftChooser, roomOf } from '../speculation/chooser.ts';
import type { Sequence } from '../sequence.ts';
import { DraftingWorld, WORLD_LAYERS, type WorldCosts, type WorldText } from './drafting-world.ts';
import { testLimits, testSpeculation } from './options.ts';
import { VirtualTime } from './virtual-time.ts';

/** One choice for every pass: nothing, texts, a chain of the drafter's so deep, or a tree of so many nodes. */
export interface FixedChoice {
  by: 'nothing' | 'texts' | 'chain' | 'tree';
  drafts: number;
}

/** How far ahead the trees of fixed choices go. */
const TREE_DEPTH = 16;
const PROMPT_TOKENS = 24;

/** Chooses the same for every pass, whatever it costs. */
export class FixedChooser implements DraftChooser {
  readonly #choice: FixedChoice;

  constructor(choice: FixedChoice) {
    this.#choice = choice;
  }

  choose(sequences: readonly Sequence[]): Choice {
    const { by, drafts } = this.#choice;
    const live = sequences.filter(({ finished, state }) => !finished && state === 'decode');
    const chosen = live.flatMap((sequence) => {
      const state = sequence.speculation!;
      const room = roomOf(sequence, Number.POSITIVE_INFINITY);
      const limit = Math.min(drafts, room);
      if (by === 'nothing' || limit <= 0) return [];
      if (by === 'texts') {
        const candidate = candidateFromText(sequence, state, limit);
        return candidate ? [{ candidate, depth: candidate.maxDrafts, leastDepth: 0 }] : [];
      }
      const depth = by === 'tree' ? Math.min(limit, TREE_DEPTH) : limit;
      const own = {
        sequence,
        state,
        isDrafted: false,
        limit,
        room,
        maxDrafts: depth,
        reach: () => 1,
        found: undefined,
      };
      return [{ candidate: own, depth, leastDepth: by === 'chain' ? depth : 0 }];
    });
    const bySequence = new Map(chosen.map((each) => [each.candidate.sequence, each]));
    const room = by === 'tree' ? drafts * chosen.length : 0;
    const cost = { passMs: 1, msPerRow: 0, tokens: live.length, room };
    // A chain's alternatives are of no use.
    return { bySequence, cost, worth: by === 'chain' ? 1 : 0 };
  }
}

export interface DraftingRun {
  costs: WorldCosts;
  text: WorldText;
  streams: number;
  /** Tokens of an answer. */
  tokens: number;
  /** Answers of each stream, one after another; the first is not measured. */
  answers: number;
  seed: number;
  /** By measured acceptance and cost if absent. */
  fixed?: FixedChoice | undefined;
  maxDrafts?: number;
  /** Called when a pass has been computed, with what the scheduler knows of costs. */
  onPass?: (costs: PassCosts) => void;
}

export interface DraftingResult {
  tokensPerS: number;
  passesPerToken: number;
  /** Drafts verified for each token. */
  draftsPerToken: number;
  /** Calls of the module for each pass, and their rows for each token. */
  callsPerPass: number;
  callRowsPerToken: number;
  microBatches: number;
}

/** Runs streams of known texts on a clock that only known work moves. */
export async function runDrafting(run: DraftingRun): Promise<DraftingResult> {
  const { costs, text, streams, tokens, answers, seed, fixed, maxDrafts } = run;
  const time = new VirtualTime();
  const world = new DraftingWorld(time, costs, text, seed);
  const scheduler = new Scheduler({
    modelId: 'world',
    forward: world.forward,
    experts: world.experts,
    limits: testLimits(),
    lapsPerPass: WORLD_LAYERS,
    speculation: testSpeculation({
      ...(maxDrafts && { maxDrafts }),
      ...(fixed && (fixed.by === 'nothing' ? { mode: 'off' as const } : { chooser: new FixedChooser(fixed) })),
    }),
    now: () => time.nowMs,
  });
  let ended = 0;
  const stream = async (first: number): Promise<void> => {
    for (let answer = 0; answer < answers; answer++) {
      await read(scheduler, world, 1 + first + answer * streams, tokens);
      ended++;
    }
  };
  const all = Array.from({ length: streams }, (_, i) => stream(i));
  const until = (share: number): Promise<void> =>
    time.runUntil(() => scheduler.tokens >= share * streams * tokens || ended === streams * answers);
  const figures = () => ({
    ms: time.nowMs,
    tokens: scheduler.tokens,
    passes: scheduler.passes,
    ...world.module,
    ...scheduler.speculation.totals,
  });
  await until(1);
  const before = { ...figures(), ...passesOf(scheduler) };
  // Before the first stream has no more to say.
  await until(answers - 0.5);
  const after = { ...figures(), ...passesOf(scheduler) };
  const { microBatches } = scheduler;
  await time.runUntil(() => ended === streams * answers);
  await Promise.all(all);
  const count = after.tokens - before.tokens;
  return {
    tokensPerS: (1000 * count) / (after.ms - before.ms),
    passesPerToken: (after.streamPasses - before.streamPasses) / count,
    draftsPerToken: (after.drafted - before.drafted) / count,
    callsPerPass: (after.calls - before.calls) / (after.passes - before.passes),
    callRowsPerToken: (after.rows - before.rows) / count,
    microBatches,
  };
}

function passesOf({ passesPerToken, tokens }: Scheduler): { streamPasses: number } {
  return { streamPasses: (passesPerToken ?? 0) * tokens };
}

/** Reads one greedy answer, and throws where it is not the text. */
async function read(scheduler: Scheduler, world: DraftingWorld, stream: number, tokens: number): Promise<void> {
  const promptIds = world.prompt(stream, PROMPT_TOKENS);
  const { signal } = new AbortController();
  const asked = { id: String(stream), promptIds, maxTokens: tokens, temperature: 0, topP: 1, seed: 1, signal };
  let position = promptIds.length;
  for await (const event of scheduler.submit(asked)) {
    if (event.type !== 'token') continue;
    if (event.token.tokenId !== world.token(stream, position)) throw new Error(`token ${position} is wrong`);
    position++;
  }
}
