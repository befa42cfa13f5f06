import type { ModelConfig } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { chooseFormats } from './choose-formats.ts';

/** A model of one expert, a small one or one of 1.2 GB in f16. */
const config = (...kinds: object[]): ModelConfig => sized(64, kinds);
const large = (...kinds: object[]): ModelConfig => sized(14_000, kinds);

const sized = (width: number, kinds: object[]): ModelConfig =>
  ({
    hiddenSize: width,
    moeIntermediateSize: width,
    nRoutedExperts: 1,
    layerKinds: ['moe'],
    expert: { activation: 'swiglu', bias: false },
    quantisation: kinds.length > 0 ? { method: 'some', formats: kinds, plainModules: [] } : null,
  }) as unknown as ModelConfig;

describe('chooseFormats', () => {
  it.each([
    [config(), {}, 'f16', 'f16'],
    [config(), { quant: 'auto' }, 'q4', 'q8'],
    [config(), { quant: 'auto', denseQuant: 'f32' }, 'q4', 'f32'],
    [config(), { quant: 'q8', denseQuant: 'auto' }, 'q8', 'q8'],
    [config({ kind: 'fp8', scales: 'tensor' }), { quant: 'auto' }, 'q4', 'q8'],
    [config({ kind: 'mxfp4', stored: 'blocks' }), {}, 'mxfp4', 'f16'],
    [config({ kind: 'mxfp4', stored: 'blocks' }), { quant: 'auto' }, 'mxfp4', 'q8'],
    [config({ kind: 'mxfp4', stored: 'blocks' }), { quant: 'q4' }, 'q4', 'f16'],
    [config({ kind: 'nvfp4', globalScale: 'divides' }), {}, 'f16', 'f16'],
    [large(), {}, 'q4', 'q8'],
    [large(), { quant: 'f16' }, 'f16', 'f16'],
    [large(), { denseQuant: 'f16' }, 'q4', 'f16'],
    [large({ kind: 'mxfp4', stored: 'blocks' }), {}, 'mxfp4', 'q8'],
  ] as const)('of %j with %j are %s and %s', (model, wanted, quant, denseQuant) => {
    expect(chooseFormats(model, wanted)).toEqual({ quant, denseQuant });
  });
});
