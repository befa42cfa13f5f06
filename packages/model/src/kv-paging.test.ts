import { describe, expect, it } from 'vitest';
import { keptPositions, kvPaging, onePageTable, pageTablesOfLayers } from './kv-paging.ts';
import type { AttentionSpan, ModelConfig } from './model-config.ts';

const FULL: AttentionSpan = { kind: 'full' };
const CONTEXT = 131_072;

/** A model with these layers, of which the last is the MTP module's if `mtp` is 1. */
function model(spans: readonly AttentionSpan[], mtp = 0) {
  return {
    layerAttention: spans.map((span) => ({ span, rope: true })),
    numHiddenLayers: spans.length - mtp,
    numNextnPredictLayers: mtp,
    maxPositionEmbeddings: CONTEXT,
  } satisfies Partial<ModelConfig>;
}

const layers = (count: number, spanOf: (layer: number) => AttentionSpan): AttentionSpan[] =>
  Array.from({ length: count }, (_, layer) => spanOf(layer));
const window = (positions: number): AttentionSpan => ({ kind: 'window', positions });

describe('the paging of the KV cache', () => {
  it('has one table where no layer has a window shorter than the context', () => {
    expect(kvPaging(model(layers(5, () => FULL)))).toEqual(onePageTable(5));
    expect(kvPaging(model(layers(5, () => window(CONTEXT))))).toEqual(onePageTable(5));
  });

  it('of gpt-oss-20b has pages of 12 layers for both kinds', () => {
    const config = model(layers(24, (layer) => (layer % 2 === 0 ? window(128) : FULL)));
    expect(kvPaging(config)).toEqual({ layersPerPage: 12, fullTables: 1, windowTables: 1, reach: 127 });
    expect(pageTablesOfLayers(config)).toEqual(layers(24, () => FULL).map((_, layer) => (layer + 1) % 2));
    expect([100, 4096].map((length) => keptPositions(config, length))).toEqual([2400, 12 * 4096 + 12 * 128]);
  });

  it('of Llama 4 Scout has pages of 12 layers, three for the layers with chunks', () => {
    const chunk: AttentionSpan = { kind: 'chunk', positions: 8192 };
    const config = model(layers(48, (layer) => (layer % 4 === 3 ? FULL : chunk)));
    expect(kvPaging(config)).toEqual({ layersPerPage: 12, fullTables: 1, windowTables: 3, reach: 8191 });
    const tables = pageTablesOfLayers(config);
    expect([0, 1, 2, 3].map((table) => tables.filter((each) => each === table).length)).toEqual([12, 12, 12, 12]);
    expect(tables.slice(0, 5)).toEqual([1, 2, 3, 0, 1]);
  });

  it('leaves as little room unused as a few tables can', () => {
    const config = model(layers(24, (layer) => (layer < 13 ? window(128) : FULL)));
    const { layersPerPage, fullTables, windowTables } = kvPaging(config);
    expect(layersPerPage * (fullTables + windowTables) - 24).toBeLessThanOrEqual(4);
    expect(fullTables + windowTables).toBeLessThanOrEqual(8);
    expect(Math.max(...pageTablesOfLayers(config))).toBe(fullTables + windowTables - 1);
  });

  it('gives back whole pages where all layers have windows, but not beside an MTP module, which needs them', () => {
    const windows = layers(6, (layer) => window(layer === 3 ? 64 : 32));
    expect(kvPaging(model(windows))).toEqual({ layersPerPage: 6, fullTables: 0, windowTables: 1, reach: 63 });
    expect(kvPaging(model([...windows, FULL], 1))).toEqual(onePageTable(6));
  });
});
