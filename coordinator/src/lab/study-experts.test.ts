import { openGate, type WorkItem } from '@shoal/model';
import { expect, it } from 'vitest';
import { StudyExperts } from './study-experts.ts';

it('StudyExperts sends several slots to an expert, and rows in pieces of few assignments', async () => {
  const items: WorkItem[] = [];
  const of = (numExperts: number, numRows: number, gate: ConstructorParameters<typeof StudyExperts>[0]['gate']) =>
    new StudyExperts({
      hiddenSize: 2,
      numExperts,
      tokenIds: Array.from({ length: numRows }, (_, i) => i),
      gate,
      layerFacts: () => ({}),
      local: { compute: (item) => (items.push(item), Promise.resolve(new Float32Array(2 * item.numRows).fill(1))) },
      onLayer: () => {},
      signal: new AbortController().signal,
    });
  const call = (numRows: number) => {
    const none = { topkIdx: new Int32Array(numRows), topkWeights: new Float32Array(numRows) };
    return { layer: 0, numRows, x: new Float32Array(2 * numRows), ...none };
  };
  const run = async (experts: StudyExperts, numRows: number, logits: Float32Array) => {
    const { topkIdx, topkWeights } = call(numRows);
    experts.observer.gate!(0, topkIdx, topkWeights, { logits, bias: null });
    return experts.dispatch(call(numRows)).combine();
  };
  const slots = of(3, 4, (layer) => openGate('soft', { slotsPerExpert: 2 }, layer));
  expect([...(await run(slots, 4, new Float32Array(4 * 6)))].every((value) => Math.abs(value - 1) < 1e-6)).toBe(true);
  expect(items.splice(0).map((item) => [...item.experts])).toEqual([[0, 0, 1, 1, 2, 2]]);

  const all = of(300, 10, (layer) => openGate('top-k', { k: 300 }, layer));
  await run(all, 10, new Float32Array(10 * 300));
  expect(items.map((item) => [item.numRows, item.experts.length])).toEqual(
    [3, 3, 3, 1].map((rows) => [rows, 300 * rows]),
  );
  const count = (1 << 18) + 1;
  const choice = { kind: 'assignments' as const, numRows: 1, rowEnd: Uint32Array.of(count), dropped: [] };
  const filled = { ...choice, experts: new Uint16Array(count), weights: new Float32Array(count) };
  await expect(
    run(
      of(4, 1, () => () => filled),
      1,
      new Float32Array(4),
    ),
  ).rejects.toThrow('more than 262144 experts');
});
