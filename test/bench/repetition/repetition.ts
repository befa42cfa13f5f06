import { loadTokenizer } from '@shoal/model/node';
import { Rates } from '../../../coordinator/src/scheduler/speculation/acceptance.ts';
import { RecentAnswers } from '../../../coordinator/src/scheduler/speculation/recent-answers.ts';
import { TextDrafter } from '../../../coordinator/src/scheduler/speculation/text-drafter.ts';
import { modelDir } from '../../golden/tiny-stories.ts';
import { formatTable } from '../table.ts';
import { PromptLookup } from './prompt-lookup.ts';
import { type Drafting, type PassCost, replay } from './replay.ts';
import { agentWorkloads, randomTexts } from './texts.ts';

const REPEATS = 7;
/** A pass over five laps of 20 ms, and one without distance. */
const COSTS: Readonly<Record<string, PassCost>> = {
  '20 ms': { passMs: 103, msPerRow: 0.5 },
  '0 ms': { passMs: 8, msPerRow: 0.5 },
};
/** As it was until 0.2.0, what it would have been with more drafts, and as it is. */
const DRAFTERS: readonly { name: string; maxDrafts: number; make: () => Drafting }[] = [
  { name: 'prompt lookup, 4 drafts', maxDrafts: 4, make: promptLookup },
  { name: 'prompt lookup, 32 drafts', maxDrafts: 32, make: promptLookup },
  { name: 'text, 4 drafts', maxDrafts: 4, make: textDrafts },
  { name: 'text, 16 drafts', maxDrafts: 16, make: textDrafts },
  { name: 'text, 32 drafts', maxDrafts: 32, make: textDrafts },
  { name: 'text, 64 drafts', maxDrafts: 64, make: textDrafts },
];

/** Measures drafts from texts against known answers to agents' requests: without a model, so that only counts matter. */
export async function benchRepetition({ json }: { json: boolean }): Promise<void> {
  const tokenizer = await loadTokenizer(modelDir);
  const workloads = [...agentWorkloads(tokenizer), randomTexts(tokenizer.vocabSize)];
  const results = Object.entries(COSTS).flatMap(([roundTrip, cost]) =>
    workloads.flatMap((workload) =>
      DRAFTERS.map(({ name, maxDrafts, make }) => {
        const runs = Array.from({ length: REPEATS }, () => replay(workload, make(), maxDrafts, cost));
        // Counts are the same in each, and the fastest was held up least by something else.
        const draftingMs = Math.min(...runs.map((run) => run.draftingMs));
        return { roundTrip, workload: workload.name, drafter: name, ...runs[0]!, draftingMs };
      }),
    ),
  );
  if (json) {
    process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
    return;
  }
  const rows = results.map(({ roundTrip, workload, drafter, tokens, passes, rows, accepted, draftingMs }) => [
    `${workload}, ${roundTrip}`,
    drafter,
    (tokens / passes).toFixed(2),
    (accepted / passes).toFixed(2),
    (rows / tokens).toFixed(2),
    ((1000 * draftingMs) / tokens).toFixed(1),
  ]);
  const head = ['text, round trip', 'drafter', 'tokens a pass', 'right drafts a pass', 'rows a token', 'µs a token'];
  process.stdout.write(`${formatTable([head, ...rows])}\n`);
}

/** Until 0.2.0: from the request's own text, by rates for each length of the repetition and each depth. */
function promptLookup(): Drafting {
  const all = acceptances(() => () => 0.5, 0.998);
  return {
    begin: (ids) => {
      const lookup = new PromptLookup(ids);
      const own = acceptances((source) => (depth) => all(source).rate(depth), 0.95);
      let source = 0;
      return {
        propose: (count) => {
          const match = lookup.find(count);
          if (!match) return undefined;
          source = Math.min(4, Math.floor(Math.log2(match.length)));
          return { drafts: match.drafts, reach: (depth) => own(source).reach(depth) };
        },
        judge: (drafted, accepted) => {
          for (const each of [own, all]) each(source).judge(drafted, accepted);
        },
        end: () => {},
      };
    },
  };
}

function acceptances(prior: (source: number) => (depth: number) => number, decay: number) {
  const known = new Map<number, DepthRates>();
  return (source: number): DepthRates => {
    const found = known.get(source) ?? new DepthRates(prior(source), decay);
    known.set(source, found);
    return found;
  };
}

/** How often drafts of each depth (from 1) were right, each depth by itself. */
class DepthRates {
  readonly #rates: Rates;

  constructor(prior: (depth: number) => number, decay: number) {
    this.#rates = new Rates((which) => prior(which + 1), decay);
  }

  judge(drafted: number, accepted: number): void {
    for (let depth = 1; depth <= Math.min(drafted, accepted + 1); depth++)
      this.#rates.judge(depth - 1, depth <= accepted);
  }

  rate(depth: number): number {
    return this.#rates.rate(depth - 1);
  }

  reach(depth: number): number {
    let all = 1;
    for (let d = 1; d <= depth; d++) all *= this.rate(d);
    return all;
  }
}

function textDrafts(): Drafting {
  const recent = new RecentAnswers();
  return {
    begin: (ids) => {
      const answers = recent.of('one key');
      const drafter = new TextDrafter(ids, answers.experience, answers.index);
      const promptTokens = ids.length;
      return {
        propose: (count) => {
          const found = drafter.find(count);
          return found && { drafts: found.drafts, reach: (depth) => found.reach[depth - 1]! };
        },
        judge: () => {},
        end: () => answers.add(ids, promptTokens),
      };
    },
  };
}
