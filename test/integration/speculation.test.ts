import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { argmax, type TokenAnswer } from '@shoal/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { ConstraintGuard } from '../../coordinator/src/scheduler/constraint-guard.ts';
import type {
  GenerationEvent,
  GenerationRequest,
  SpeculationUsage,
} from '../../coordinator/src/scheduler/generation.ts';
import type { TokenConstraint } from '../../coordinator/src/scheduler/token-constraint.ts';
import { heldOutText } from '../golden/tiny-stories.ts';
import { GOLDEN } from './golden.ts';
import { newMtpCache, newPages } from './own-pages.ts';
import { tinyConfig } from './tiny-coordinator.ts';
import { putLapsOnClock } from './laps-on-clock.ts';
import { type ChangedMatrix, writeLora, writeMixture } from './random-adapters.ts';

let core: Core;
/** Texts that the model has not seen, as ids that begin with the beginning of a text. */
let heldOut: number[][];

let adapterRoot: string;

beforeAll(async () => {
  adapterRoot = await mkdtemp(join(tmpdir(), 'shoal-speculation-'));
  core = await createCore(tinyConfig({ replicas: 1, adapterRoot }));
  const { config, tokenizer } = core;
  const texts = heldOutText.split('<|endoftext|>').filter((text) => text.trim() !== '');
  heldOut = texts.map((text) => [config.eosTokenIds[0]!, ...tokenizer.encode(text.trim())]);
  putLapsOnClock(core);
  await loadAdapters();
});
afterAll(async () => {
  await core.close();
  await rm(adapterRoot, { recursive: true });
});
beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** Loads a random adapter, `lora`, and a mixture of two, `mixture`. */
async function loadAdapters(): Promise<void> {
  const { hiddenSize } = core.config;
  const matrices = [0, 3, 5].flatMap((layer): ChangedMatrix[] => [
    [`model.layers.${layer}.self_attn.q_a_proj`, hiddenSize, 96],
    [`model.layers.${layer}.self_attn.o_proj`, 192, hiddenSize],
  ]);
  await writeLora(join(adapterRoot, 'lora'), matrices, 0.1, 3);
  const mixture = { hiddenSize, adapters: [matrices.slice(0, 4), matrices.slice(1)], noise: 0.15 };
  await writeMixture(join(adapterRoot, 'mixture'), mixture);
  for (const name of ['lora', 'mixture']) await core.adapters.load(name, join(adapterRoot, name));
}

let requests = 0;

/** The generated ids, and the draft counts. */
async function generate(promptIds: readonly number[], more: Partial<GenerationRequest> = {}) {
  const { signal } = new AbortController();
  const asked = { temperature: 0, topP: 1, seed: 1, maxTokens: 48, ...more };
  const tokens: TokenAnswer[] = [];
  let usage: SpeculationUsage | undefined;
  const events: AsyncIterable<GenerationEvent> = core.scheduler.submit({
    id: `request ${requests++}`,
    promptIds,
    signal,
    ...asked,
  });
  for await (const event of events) {
    if (event.type !== 'token') {
      if (event.type === 'finish') usage = event.speculation;
      continue;
    }
    const { tokenId, logprob, topLogprobs } = event.token;
    tokens.push({ tokenId, ...(logprob !== undefined && { logprob }), ...(topLogprobs && { topLogprobs }) });
  }
  return { tokens, usage };
}

/** Later than any pass waits for a mask. */
const LATE_MS = 80;

/** Tokens with even ids only, as other threads would say; every so many masks late. */
function evenTokens(lateEvery = Number.POSITIVE_INFINITY): TokenConstraint {
  let asked = 0;
  const mask = new Uint32Array(Math.ceil(core.config.vocabSize / 32)).fill(0x55555555);
  const odd = (id: number): boolean => id % 2 === 1;
  return {
    allowedDrafts: async (drafts) => (drafts.some(odd) ? drafts.findIndex(odd) : drafts.length),
    masks: async (drafts) => {
      const isLate = asked++ % lateEvery === lateEvery - 1;
      await new Promise((resolve) => setTimeout(resolve, isLate ? LATE_MS : 1));
      return Array.from({ length: drafts.length + 1 }, () => mask);
    },
    accept: () => {},
    close: () => {},
  };
}

describe('answers of the default model', () => {
  it('are bit for bit the same with drafts and without, greedy and sampled, alone and together', async () => {
    const asked = GOLDEN.slice(0, 6).map(({ prompt_ids: ids }, i): [number[], Partial<GenerationRequest>] => [
      ids,
      { seed: i, maxTokens: 20 + 5 * i, topLogprobs: 2, temperature: [0, 0.7, 1][i % 3]!, topP: i < 3 ? 1 : 0.9 },
    ]);
    const plain = [];
    for (const [ids, more] of asked) plain.push(await generate(ids, { ...more, speculate: false }));
    const drafted = await Promise.all(asked.map(([ids, more]) => generate(ids, more)));
    expect(drafted.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
    for (const { usage } of drafted) expect(usage!.accepted).toBeGreaterThan(0);
    for (const { usage } of plain) expect(usage).toBeUndefined();
  });

  it('are bit for bit the same with drafts and without under an adapter and a mixture of some, which the drafter has not', async () => {
    const asked = ['lora', 'mixture'].flatMap((name, i) =>
      [0, 0.8].map((temperature): [number[], Partial<GenerationRequest>] => [
        GOLDEN[i]!.prompt_ids,
        { adapter: core.adapters.find(name), seed: 7, maxTokens: 24, topLogprobs: 2, temperature },
      ]),
    );
    const plain = [];
    for (const [ids, more] of asked) plain.push(await generate(ids, { ...more, speculate: false }));
    const drafted = await Promise.all(asked.map(([ids, more]) => generate(ids, more)));
    expect(drafted.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
    for (const { usage } of drafted) expect(usage!.accepted).toBeGreaterThan(0);
    const base = await generate(GOLDEN[0]!.prompt_ids, { ...asked[0]![1], adapter: undefined });
    expect(base.tokens).not.toEqual(plain[0]!.tokens);
  });

  it('are bit for bit the same with drafts and without under every sampling parameter, alone and together', async () => {
    const eos = core.config.eosTokenIds[0]!;
    const cases: (() => Partial<GenerationRequest>)[] = [
      () => ({ temperature: 0, repetitionPenalty: 1.15 }),
      () => ({ temperature: 1, presencePenalty: 0.6, frequencyPenalty: 0.4, minP: 0.05 }),
      () => ({ temperature: 0.8, logitBias: new Map([[eos, 4]]), minTokens: 12, stopTokenIds: [300, 301] }),
      () => ({ temperature: 1, ignoreEos: true, logitBias: new Map([[eos, 20]]) }),
      () => ({ temperature: 0.7, constraint: evenTokens() }),
      () => ({ temperature: 0, constraint: evenTokens(), frequencyPenalty: 0.3, minTokens: 5 }),
    ];
    const asked = cases.map((more, i): [number[], () => Partial<GenerationRequest>] => [
      GOLDEN[i]!.prompt_ids,
      () => ({ seed: i, maxTokens: 30, topLogprobs: 1, ...more() }),
    ]);
    const plain = [];
    for (const [ids, more] of asked) plain.push(await generate(ids, { ...more(), speculate: false }));
    const drafted = await Promise.all(asked.map(([ids, more]) => generate(ids, more())));
    expect(drafted.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
    expect(drafted.reduce((sum, { usage }) => sum + usage!.accepted, 0)).toBeGreaterThan(30);
    // And once more, with drafts from these answers.
    const again = await Promise.all(asked.map(([ids, more]) => generate(ids, more())));
    expect(again.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
    const passes = (answers: typeof drafted): number => answers.reduce((sum, { usage }) => sum + usage!.passes, 0);
    expect(passes(again)).toBeLessThan(passes(drafted) / 2);
    for (const { tokens } of plain.slice(4)) for (const { tokenId } of tokens) expect(tokenId % 2).toBe(0);
    // The biases make an end likely as soon as it may come.
    expect(plain[2]!.tokens.length).toBeGreaterThanOrEqual(12);
    expect(plain[3]!.tokens).toHaveLength(30);
  });

  it('are bit for bit the same with masks that come too late for their passes, alone and together', async () => {
    const asked = [1, 2, 5].map((lateEvery, i) => (isLate: boolean): [number[], Partial<GenerationRequest>] => {
      const constraint = evenTokens(isLate ? lateEvery : undefined);
      const adapter = i === 1 ? core.adapters.find('mixture') : undefined;
      const asked = { seed: i, maxTokens: 12, temperature: i / 2, topLogprobs: 2, constraint, adapter };
      // Not drafted from the same answer in time, which would leave too few passes to be late.
      return [GOLDEN[i]!.prompt_ids, { ...asked, cacheScope: String(isLate) }];
    });
    const inTime = [];
    for (const each of asked) inTime.push(await generate(...each(false)));
    const wasLate = vi.spyOn(ConstraintGuard.prototype, 'wasLate');
    const late = await Promise.all(asked.map((each) => generate(...each(true))));
    expect(late.map(({ tokens }) => tokens)).toEqual(inTime.map(({ tokens }) => tokens));
    expect(wasLate.mock.calls.length).toBeGreaterThanOrEqual(3);
    wasLate.mockRestore();
  });

  it.each([
    ['greedy', 0],
    ['sampled', 1],
  ])('to held-out text take 3.8 times fewer laps, as 90 %% of first drafts are right: %s', async (_, temperature) => {
    const before = core.scheduler.speculation.counts;
    const firstRight = (before.mtp.accepted[0] ?? 0) + (before.lookup.accepted[0] ?? 0);
    let [tokens, laps, passes] = [0, 0, 0];
    for (const [i, ids] of heldOut.slice(0, 6).entries()) {
      const answer = await generate(ids.slice(0, 32), { temperature, seed: i });
      tokens += answer.tokens.length;
      laps += answer.usage!.laps;
      // Before its first token nothing is drafted.
      passes += answer.usage!.passes - 1;
    }
    expect(tokens).toBeGreaterThan(200);
    expect(laps / tokens).toBeLessThan(5 / 3.8);
    const { mtp, lookup } = core.scheduler.speculation.counts;
    const right = (mtp.accepted[0] ?? 0) + (lookup.accepted[0] ?? 0) - firstRight;
    // Of some 36 passes; how many pass before the first that drafts differs by the machine's pace.
    expect(right / passes).toBeGreaterThan(0.8);
  });
});

describe('the MTP module of the default model', () => {
  it('is right in over 90 % of first drafts', async () => {
    const { config, dispatcher, forward } = core;
    let [right, judged] = [0, 0];
    for (const text of heldOut.slice(0, 6)) {
      const ids = text.slice(0, 200);
      const cache = forward.sequenceOn(newPages(core));
      const rows = ids.map((tokenId, position) => ({ tokenId, position, cache, wantLogits: true }));
      const result = await forward.forward(rows, dispatcher.batch());
      const choices = result.logits.map((logits) => argmax(logits!));
      judged += ids.length - 1;
      const mtpCache = newMtpCache(core);
      const mtpRows = ids.slice(1).map((nextTokenId, position) => {
        const hidden = result.hidden.slice(position * config.hiddenSize, (position + 1) * config.hiddenSize);
        return { hidden, nextTokenId, position, cache: mtpCache, wantLogits: true };
      });
      const { logits } = await forward.forwardMtp(mtpRows, dispatcher.batch());
      for (const [i, row] of logits.entries()) if (argmax(row!) === choices[i + 1]) right++;
    }
    expect(right / judged).toBeGreaterThan(0.9);
  });
});
