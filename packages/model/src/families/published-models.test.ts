import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { expertLayers, isDenseModel, type ModelConfig } from '../model-config.ts';
import { expertTensors, listDenseTensors, listTensorSpecs, type TensorSpec } from '../tensors.ts';
import { configOf, draftModels, publishedModels, refusedModels } from '../testing/published-models/index.ts';

const sizeOf = (specs: readonly TensorSpec[]): number =>
  specs.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);

/** Values of all tensors, with the MTP module's or without. */
function parameters(config: ModelConfig, withMtp: boolean): number {
  const mtp = `model.layers.${config.numHiddenLayers}.`;
  const dense = listDenseTensors(config).filter(({ name }) => withMtp || !name.startsWith(mtp));
  const layers = expertLayers(config).filter((layer) => withMtp || layer < config.numHiddenLayers);
  const first = layers[0];
  const expert = first === undefined ? 0 : sizeOf(listTensorSpecs(expertTensors(config, first, 0)));
  return sizeOf(dense) + layers.length * config.nRoutedExperts * expert;
}

describe('published models', () => {
  it('are at least forty', () => {
    expect(publishedModels.length + refusedModels.length).toBeGreaterThanOrEqual(40);
  });

  it.each([...publishedModels, ...draftModels])('$name has as many parameters as $source counts', (model) => {
    const counted = parameters(configOf(model), model.counted === 'text and MTP');
    expect(Math.abs(counted / model.parameters - 1)).toBeLessThan(1e-3);
  });

  it.each(draftModels)('$name has no experts', (model) => {
    const config = configOf(model);
    expect(isDenseModel(config)).toBe(true);
    expect(config).toMatchObject({ nRoutedExperts: 0, numExpertsPerTok: 0 });
  });

  it.each(refusedModels)('$name is refused for what it is', ({ config, because }) => {
    expect(() => parseModelConfig(config)).toThrow(because);
  });
});
