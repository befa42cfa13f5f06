import type { ExpertDispatch } from '@shoal/model';
import { vi } from 'vitest';
import type { Config } from '../../config.ts';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { GenerationEvent, GenerationRequest } from '../generation.ts';
import type { GraceClock } from '../grace.ts';
import { Scheduler, type SchedulerLimits } from '../scheduler.ts';
import { DraftModelEngine } from '../speculation/draft-model-engine.ts';
import { HashEngine, type HashEngineOptions } from './hash-engine.ts';
import { lapsOf, testLimits, testSpeculation } from './options.ts';

/** Only laps take time, of a clock that the test has faked, so that the useful number of drafts is the same in every run. */
const [LAP_MS, MTP_MS, DRAFT_MS] = [20, 1, 1];
export interface Setting extends HashEngineOptions {
  mode?: Config['speculate'];
  maxDrafts?: number;
  lapsPerDraft?: number;
  limits?: Partial<SchedulerLimits>;
  lap?: () => Promise<void> | void;
  eosTokenIds?: readonly number[];
  clock?: GraceClock;
  /** Has another engine draft. */
  draftModel?: HashEngineOptions;
}

/** A scheduler on a HashEngine. */
export function open({
  mode = 'auto',
  maxDrafts = 4,
  lapsPerDraft = 0,
  limits,
  lap = () => {},
  eosTokenIds,
  clock,
  draftModel,
  ...options
}: Setting = {}) {
  const forward = new HashEngine(options);
  const drafting = draftModel && new HashEngine({ ...draftModel, isDraft: true });
  if (drafting) drafting.beforeDraft = () => void vi.advanceTimersByTime(DRAFT_MS);
  const engine = drafting && new DraftModelEngine({ engine: drafting });
  const batch = ({ trace, maxPeers, onLimited }: BatchOptions = {}): ExpertDispatch => ({
    dispatch: ({ layer, x, numRows }) => ({
      combine: async () => {
        for (let row = 0; row < numRows; row++) {
          // Of a row's position and token, so that a mistaken row shows.
          const mark = 100 * x[4 * row]! + x[4 * row + 1]!;
          trace?.(row, { layer, lapMs: mark, experts: [] });
          if (maxPeers?.(row) !== undefined) onLimited?.(row, mark % 3 === 0);
        }
        await lap();
        vi.advanceTimersByTime(layer === forward.config.numHiddenLayers ? MTP_MS : LAP_MS);
        return x;
      },
    }),
  });
  const failures: unknown[] = [];
  const scheduler = new Scheduler({
    modelId: 'hash',
    forward,
    eosTokenIds,
    clock,
    experts: { batch },
    limits: testLimits(limits),
    lapsPerPass: lapsOf(forward),
    speculation: testSpeculation({ mode, maxDrafts, lapsPerDraft, engine, onFailure: (error) => failures.push(error) }),
  });
  return { scheduler, forward, failures, drafting, engine };
}

/** A greedy request, except for `more`. */
export function request(id: string, more: Partial<GenerationRequest> = {}): GenerationRequest {
  const { signal } = new AbortController();
  return { id, promptIds: [1, 2, 3], maxTokens: 20, temperature: 0, topP: 1, seed: 1, signal, ...more };
}

/** The events without draft counts, and those separately. */
export async function collect(stream: AsyncIterable<GenerationEvent>) {
  const events: object[] = [];
  let usage = { drafted: 0, accepted: 0, passes: 0, laps: 0 };
  for await (const event of stream) {
    const carrier = event.type === 'token' ? event.token : event;
    if ('speculation' in carrier && carrier.speculation) {
      usage = carrier.speculation;
      delete carrier.speculation;
    }
    events.push(event);
  }
  return { events, usage };
}

/** The same without drafts, alone. */
export const plain = async (each: GenerationRequest, eosTokenIds?: readonly number[]) =>
  (await collect(open({ mode: 'off', ...(eosTokenIds && { eosTokenIds }) }).scheduler.submit(each))).events;
