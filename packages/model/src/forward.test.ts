import { describe, expect, it } from 'vitest';
import { parseModelConfig } from './config.ts';
import type { ExpertDispatch, MoeCall } from './dispatch.ts';
import { forward, type Model } from './forward.ts';
import { KvCache } from './kv-cache.ts';
import { linear, rmsNorm } from './math.ts';
import { mla } from './mla.ts';
import { forwardMtp } from './mtp.ts';
import { ropeAngles, rotate } from './rope.ts';
import { noExperts, smallConfigJson as json, smallWeights as reader } from './testing/small-model.ts';
import { TensorSpec } from './tensors.ts';
import { loadDenseWeights } from './weights.ts';

const config = parseModelConfig(json);
const model: Model = { config, weights: await loadDenseWeights(config, reader) };

const rowsOf = (cache: KvCache, ids: number[], from = cache.length) =>
  ids.map((tokenId, i) => ({ tokenId, position: from + i, cache, wantLogits: true }));

describe('absorbed attention', () => {
  it('agrees with the uncompressed form, over more than one chunk of the cache', async () => {
    const numRows = 70;
    const { hiddenSize: d, attention, rmsNormEps } = config;
    const weights = model.weights.layers[1]!.attention;
    if (attention.kind !== 'mla' || weights.kind !== 'mla') throw new Error('the small model has another attention');
    const {
      numAttentionHeads: heads,
      kvLoraRank: rank,
      qkNopeHeadDim: nope,
      qkRopeHeadDim: rope,
      vHeadDim: v,
    } = attention;
    const x = await reader.read(new TensorSpec('x', [numRows, d]));
    const cache = new KvCache(config);
    cache.append(numRows);
    const positions = Array.from({ length: numRows }, (_, position) => position);
    const angles = ropeAngles(positions, config.rope);
    const layer = config.layerAttention[1]!;
    const rows = positions.map((position) => ({ position, cache }));
    const absorbed = mla(attention, weights, { x, hiddenSize: d, rows, angles, cacheLayer: 1, rmsNormEps, layer });

    const read = (name: string, shape: number[]) =>
      reader.read(new TensorSpec(`model.layers.1.self_attn.${name}.weight`, shape));
    const a = linear(x, await read('kv_a_proj_with_mqa', [rank + rope, d]), numRows, d, rank + rope);
    const q = linear(x, await read('q_proj', [heads * (nope + rope), d]), numRows, d, heads * (nope + rope));
    const kvB = await read('kv_b_proj', [heads * (nope + v), rank]);
    const kvNorm = await read('kv_a_layernorm', [rank]);
    const kv: Float32Array[] = [];
    for (let t = 0; t < numRows; t++) {
      const c = rmsNorm(a.slice(t * (rank + rope), t * (rank + rope) + rank), kvNorm, 1, 1e-6);
      kv.push(linear(c, kvB, 1, rank, heads * (nope + v)));
      rotate(a, t * (rank + rope) + rank, angles, t);
      for (let h = 0; h < heads; h++) rotate(q, (t * heads + h) * (nope + rope) + nope, angles, t);
    }
    const out = new Float32Array(numRows * heads * v);
    for (let r = 0; r < numRows; r++) {
      for (let h = 0; h < heads; h++) {
        const scores = positions.slice(0, r + 1).map((t) => {
          let score = 0;
          for (let i = 0; i < nope + rope; i++) {
            const key = i < nope ? kv[t]![h * (nope + v) + i]! : a[t * (rank + rope) + rank + i - nope]!;
            score += q[(r * heads + h) * (nope + rope) + i]! * key;
          }
          return Math.exp(score / Math.sqrt(nope + rope));
        });
        const sum = scores.reduce((x, y) => x + y);
        for (let i = 0; i < v; i++) {
          out[(r * heads + h) * v + i] = scores.reduce(
            (o, e, t) => o + (e / sum) * kv[t]![h * (nope + v) + nope + i]!,
            0,
          );
        }
      }
    }
    const expected = linear(out, await read('o_proj', [d, heads * v]), numRows, heads * v, d);
    for (const [i, value] of absorbed.entries()) expect(value).toBeCloseTo(expected[i]!, 4);
  });
});

describe('forward', () => {
  it('computes with tied embeddings, plain queries and no shared expert; logits only where wanted', async () => {
    const cache = new KvCache(config);
    const rows = rowsOf(cache, [1, 2, 3]).map((row, i) => ({ ...row, wantLogits: i !== 1 }));
    const { logits, hidden } = await forward(model, rows, noExperts);
    expect(logits.map((row) => row?.length)).toEqual([11, undefined, 11]);
    const last = hidden.subarray(2 * 10);
    expect(logits[2]).toEqual(linear(last, model.weights.embedTokens, 1, 10, 11));
    expect(cache.length).toBe(3);
  });

  it('hands the experts normalised rows and the gate’s choice, and adds what they return', async () => {
    const calls: MoeCall[] = [];
    const ones: ExpertDispatch = {
      dispatch: (call) => {
        calls.push(call);
        return { combine: () => Promise.resolve(new Float32Array(call.x.length).fill(1)) };
      },
    };
    const seen: number[] = [];
    const ids = [4, 5];
    const withOnes = await forward(model, rowsOf(new KvCache(config), ids), ones, {
      gate: (layer) => seen.push(layer),
    });
    const without = await forward(model, rowsOf(new KvCache(config), ids), noExperts);
    expect(seen).toEqual([1]);
    expect(calls).toMatchObject([{ layer: 1, numRows: 2 }]);
    expect(calls[0]!.topkIdx).toHaveLength(4);
    expect(calls[0]!.topkWeights[0]! + calls[0]!.topkWeights[1]!).toBeCloseTo(1, 6);
    expect(withOnes.hidden).not.toEqual(without.hidden);
  });

  it('leaves every cache as it was when the experts fail, so that the same call can be repeated', async () => {
    const fresh = new KvCache(config);
    const begun = new KvCache(config);
    await forward(model, rowsOf(begun, [1, 2]), noExperts);
    const failing: ExpertDispatch = {
      dispatch: () => ({ combine: () => Promise.reject(new Error('all peers are gone')) }),
    };
    const rows = [...rowsOf(fresh, [3, 4]), ...rowsOf(begun, [5])];
    await expect(forward(model, rows, failing)).rejects.toThrow('all peers are gone');
    expect([fresh.length, fresh.allocatedBytes, begun.length]).toEqual([0, 0, 2]);
    const again = await forward(model, rows, noExperts);
    const clean = new KvCache(config);
    const { logits } = await forward(model, rowsOf(clean, [1, 2, 5]), noExperts);
    expect(again.logits[2]).toEqual(logits[2]);
  });

  it('refuses a result of the wrong size', async () => {
    const short: ExpertDispatch = { dispatch: () => ({ combine: () => Promise.resolve(new Float32Array(9)) }) };
    await expect(forward(model, rowsOf(new KvCache(config), [1]), short)).rejects.toThrow(
      /layer 1: combine\(\) returned 9/,
    );
  });

  it.each<[string, (cache: KvCache) => ReturnType<typeof rowsOf>]>([
    ['row 0: position 1', (cache) => rowsOf(cache, [1], 1)],
    ['row 1: position 0', (cache) => [...rowsOf(cache, [1]), ...rowsOf(cache, [1])]],
    ['row 1: position 2', (cache) => [...rowsOf(cache, [1]), ...rowsOf(cache, [1], 2)]],
    ['row 0: token 11', (cache) => rowsOf(cache, [11])],
    ['row 0: token -1', (cache) => rowsOf(cache, [-1])],
    ['row 0: token 0.5', (cache) => rowsOf(cache, [0.5])],
    ['row 96: position 96 is outside the context', (cache) => rowsOf(cache, Array(97).fill(1) as number[])],
  ])('refuses %s before anything changes', async (named, rows) => {
    const cache = new KvCache(config);
    await expect(forward(model, rows(cache), noExperts)).rejects.toThrow(named);
    expect([cache.length, cache.allocatedBytes]).toEqual([0, 0]);
  });

  it('takes an empty batch', async () => {
    expect(await forward(model, [], noExperts)).toEqual({
      logits: [],
      answers: [],
      hidden: new Float32Array(0),
      normed: new Float32Array(0),
    });
  });
});

describe('forwardMtp', () => {
  it('says so where the model has no such module', async () => {
    await expect(forwardMtp(model, [], noExperts)).rejects.toThrow(/num_nextn_predict_layers is 0/);
  });

  it('leaves its cache as it was when the experts fail', async () => {
    const withMtp = parseModelConfig({ ...json, num_nextn_predict_layers: 1 });
    const weights = await loadDenseWeights(withMtp, reader);
    const cache = new KvCache(withMtp, 1);
    const row = { hidden: new Float32Array(10).fill(0.5), nextTokenId: 3, position: 0, cache, wantLogits: true };
    const failing: ExpertDispatch = { dispatch: () => ({ combine: () => Promise.reject(new Error('gone')) }) };
    await expect(forwardMtp({ config: withMtp, weights }, [row], failing)).rejects.toThrow('gone');
    expect(cache.length).toBe(0);
    const { logits } = await forwardMtp({ config: withMtp, weights }, [row], noExperts);
    expect(logits[0]).toHaveLength(11);
    expect(cache.length).toBe(1);
  });
});
