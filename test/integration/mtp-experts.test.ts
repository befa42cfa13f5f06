import { argmax, type EngineMtpRow, type ExpertDispatch, forwardMtp, KvCache } from '@shoal/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { goldenCases, nmse, openTinyStories, prefill, type TinyStories } from '../golden/tiny-stories.ts';
import { newMtpCache } from './own-pages.ts';
import { tinyConfig } from './tiny-coordinator.ts';

let core: Core;
let tiny: TinyStories;

beforeAll(async () => {
  core = await createCore(tinyConfig({ replicas: 1 }));
  tiny = await openTinyStories();
});
afterAll(async () => {
  await core.close();
  await tiny.checkpoint.close();
});

/** The module's rows for a text, without their cache: position i has the hidden state of token i and the next token. */
async function mtpRows(ids: readonly number[]): Promise<Omit<EngineMtpRow, 'cache'>[]> {
  const { hiddenSize } = core.config;
  const { hidden } = await prefill(tiny, ids, new KvCache(tiny.model.config));
  return ids.slice(1).map((nextTokenId, position) => {
    const row = hidden.slice(position * hiddenSize, (position + 1) * hiddenSize);
    return { hidden: row, nextTokenId, position, wantLogits: true };
  });
}

describe('MTP drafter: the module, its experts local,', () => {
  it.each(goldenCases)('gives the reference’s logits: $prompt', async ({ prompt_ids: ids, last_mtp_argmax: best }) => {
    const rows = await mtpRows(ids);
    const cache = new KvCache(core.config, 1);
    const expected = await forwardMtp(
      tiny.model,
      rows.map((row) => ({ ...row, cache })),
      tiny.experts,
    );
    const own = newMtpCache(core);
    const { logits } = await core.forward.forwardMtp(
      rows.map((row) => ({ ...row, cache: own })),
      core.dispatcher.batch(),
    );
    own.free();
    for (const [i, row] of logits.entries()) expect(nmse(row!, expected.logits[i]!)).toBeLessThan(1e-5);
    expect(argmax(logits.at(-1)!)).toBe(best);
  });

  it('makes no lap, and counts apart from what enters answers', async () => {
    const before = { ...core.dispatcher.figures };
    const rows = await mtpRows(goldenCases[0]!.prompt_ids.slice(0, 3));
    const cache = newMtpCache(core);
    const layers: number[] = [];
    const batch = core.dispatcher.batch();
    const experts: ExpertDispatch = {
      dispatch: (call) => {
        layers.push(call.layer);
        return batch.dispatch(call);
      },
    };
    await core.forward.forwardMtp(
      rows.map((row) => ({ ...row, cache })),
      experts,
    );
    cache.free();
    expect(layers).toEqual([core.config.numHiddenLayers]);
    expect(core.dispatcher.figures.draftAssignments - before.draftAssignments).toBe(2 * core.config.numExpertsPerTok);
    const { laps, tabAssignments, fallbackAssignments, localLayerAssignments } = before;
    expect(core.dispatcher.figures).toMatchObject({ laps, tabAssignments, fallbackAssignments, localLayerAssignments });
  });
});
