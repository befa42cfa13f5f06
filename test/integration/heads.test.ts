import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EngineEagle3Row } from '@shoal/model';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import type { GenerationRequest } from '../../coordinator/src/scheduler/generation.ts';
import { headDir } from '../golden/heads.ts';
import { GOLDEN } from './golden.ts';
import { writeRandomHead } from './heads.ts';
import { newPages } from './own-pages.ts';
import { tinyConfig } from './tiny-coordinator.ts';
import { putLapsOnClock } from './laps-on-clock.ts';

const LAYERS = [2, 5, 6];
const HEAD = { hiddenSize: 192, vocabSize: 2048, draftVocabSize: 682, layers: LAYERS };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-head-'));
});
afterAll(() => rm(folder, { recursive: true }));

let core: Core;
afterEach(async () => {
  vi.useRealTimers();
  await core.close();
});

async function openWith(kind: 'eagle3' | 'dflash'): Promise<void> {
  const dir = join(folder, kind);
  await mkdir(dir);
  await writeRandomHead(dir, kind, HEAD);
  core = await createCore(tinyConfig({ replicas: 1, drafter: dir }));
  vi.useFakeTimers({ toFake: ['performance'] });
  putLapsOnClock(core);
}

let requests = 0;

async function generate(promptIds: readonly number[], more: Partial<GenerationRequest> = {}) {
  const { signal } = new AbortController();
  const asked = { temperature: 0, topP: 1, seed: 1, maxTokens: 8, topLogprobs: 1, ...more };
  const tokens: { tokenId: number; logprob: number | undefined }[] = [];
  for await (const event of core.scheduler.submit({ id: `request ${requests++}`, promptIds, signal, ...asked }))
    if (event.type === 'token') tokens.push({ tokenId: event.token.tokenId, logprob: event.token.logprob });
  return tokens;
}

/** Answers without drafts, and what they were asked. */
async function withoutDrafts() {
  const [first, second] = GOLDEN.map(({ prompt_ids: ids }) => ids);
  const asked: [number[], Partial<GenerationRequest>][] = [
    // One of the head's tokens is so likely that its drafts are right.
    [first!, { temperature: 0, maxTokens: 18, logitBias: new Map([[501, 100]]) }],
    [second!, { temperature: 0.7, topP: 0.9, seed: 5 }],
    [second!, { temperature: 1.3, topK: 40, frequencyPenalty: 0.5, logitBias: new Map([[1002, 3]]) }],
  ];
  const plain = [];
  for (const [ids, more] of asked) plain.push(await generate(ids, { ...more, speculate: false }));
  return { asked, plain };
}

describe('a head that drafts for the default model', () => {
  it('as EAGLE-3 changes no bit of an answer, and reads the hidden states of the tokens that were kept', async () => {
    await openWith('eagle3');
    const rows: EngineEagle3Row[] = [];
    const head = core.forward.head!;
    const forward = head.forwardEagle3.bind(head);
    const spy = vi.spyOn(head, 'forwardEagle3').mockImplementation((asked) => {
      rows.push(...asked.filter(({ isOwn }) => !isOwn));
      return forward(asked);
    });
    const { asked, plain } = await withoutDrafts();
    expect(rows).toHaveLength(0);
    const drafted = await Promise.all(asked.map(([ids, more]) => generate(ids, more)));
    expect(drafted).toEqual(plain);
    expect(core.scheduler.speculation.counts.eagle3.accepted[0]).toBeGreaterThan(0);
    expect(core.scheduler.speculation.failures).toBe(0);
    expect(core.scheduler.speculation.kvBytesPerToken).toBe(head.kvBytesPerToken);
    spy.mockRestore();

    const text = [...asked[0]![0], ...plain[0]!.map(({ tokenId }) => tokenId)];
    const pages = newPages(core);
    const cache = core.forward.sequenceOn(pages);
    const all = text.map((tokenId, position) => ({ tokenId, position, cache }));
    const { auxiliary } = await core.forward.forward(all, core.dispatcher.batch());
    const width = LAYERS.length * HEAD.hiddenSize;
    const own = rows.filter(({ cache: each }) => each === rows.find(({ position }) => position === 2)!.cache);
    expect(own.length).toBeGreaterThan(asked[0]![0].length);
    for (const { position, nextTokenId, hidden } of own) {
      expect(nextTokenId).toBe(text[position + 1]);
      expect(hidden).toEqual(auxiliary!.slice(position * width, (position + 1) * width));
    }
  });

  it('as DFlash changes no bit of an answer, and drafts as far as the answer has room', async () => {
    await openWith('dflash');
    const { asked, plain } = await withoutDrafts();
    const drafted = await Promise.all(asked.map(([ids, more]) => generate(ids, more)));
    expect(drafted).toEqual(plain);
    const { counts, failures } = core.scheduler.speculation;
    expect(failures).toBe(0);
    // One block gives drafts of several depths.
    expect(counts.dflash.drafted.length).toBeGreaterThan(1);
    expect(counts.dflash.accepted[0]).toBeGreaterThan(0);
  });

  it('is refused by what does not fit, and beside what it would replace', async () => {
    const open = (more: object): Promise<Core> => createCore(tinyConfig({ drafter: headDir('eagle3'), ...more }));
    await expect(open({})).rejects.toThrow(/--drafter .*vocab_size is 112 but the model's is 2048/);
    await expect(open({ drafter: join(folder, 'none', 'at-all') })).rejects.toThrow(/--drafter/);
    await expect(open({ speculate: 'mtp' })).rejects.toThrow(/--speculate auto only/);
    await expect(open({ draftModel: folder })).rejects.toThrow(/exclude each other/);
  });
});
