import { describe, expect, it } from 'vitest';
import { checkpointOf } from './checkpoint.ts';
import { parseModelConfig } from './config.ts';
import type { ModelConfig } from './model-config.ts';
import { CheckpointError } from './errors.ts';
import { expertTensors, listDenseTensors, listTensorSpecs } from './tensors.ts';
import { smallConfigJson } from './testing/small-model.ts';

const alone = parseModelConfig({ ...smallConfigJson, num_nextn_predict_layers: 1 });
/** The same as a part of a model that sees. */
const withEyes = parseModelConfig({
  model_type: 'kimi_k25',
  architectures: ['KimiK25ForConditionalGeneration'],
  text_config: { ...smallConfigJson, num_nextn_predict_layers: 1, model_type: 'deepseek_v3' },
});

/** All tensors. Layer 0 is dense, layers 1 and 2 (the MTP module's) have four experts. */
const whole = (config: ModelConfig) =>
  new Map(
    [
      ...listDenseTensors(config),
      ...[1, 2].flatMap((layer) =>
        [0, 1, 2, 3].flatMap((expert) => listTensorSpecs(expertTensors(config, layer, expert))),
      ),
    ].map(({ stored, shape }) => [stored.name, shape]),
  );

/** Checks a checkpoint that stores these shapes in BF16, with the changes. */
function check(changes: Record<string, readonly number[] | undefined>, config = alone): ModelConfig {
  const table = whole(config);
  for (const [name, shape] of Object.entries(changes)) {
    if (shape) table.set(name, shape);
    else table.delete(name);
  }
  const tensors = new Map(
    [...table].map(([name, shape]) => [
      name,
      { file: 'here.safetensors', info: { dtype: 'BF16' as const, shape, bytes: 0, offset: 0 } },
    ]),
  );
  const nothing = (): Promise<void> => Promise.reject(new Error('a check reads no weights'));
  const files = { tensors, listedIn: 'here.safetensors', read: nothing, close: nothing };
  const checkpoint = checkpointOf('here', config, files);
  checkpoint.check();
  return checkpoint.config;
}

function refusal(changes: Record<string, readonly number[] | undefined>): CheckpointError {
  try {
    check(changes);
  } catch (error) {
    if (error instanceof CheckpointError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

describe('checkTensors', () => {
  it('takes a whole checkpoint, and passes over what is stored twice or follows from config.json', () => {
    check({});
    check({
      'lm_head.weight': [11, 10],
      'model.layers.2.embed_tokens.weight': [11, 10],
      'model.layers.2.shared_head.head.weight': [11, 10],
      'model.layers.1.self_attn.rotary_emb.inv_freq': [3],
    });
  });

  it('does so where all names of the text model have a prefix, its MTP module included', () => {
    const { numNextnPredictLayers } = check(
      {
        'language_model.lm_head.weight': [11, 10],
        'language_model.model.layers.2.embed_tokens.weight': [11, 10],
        'vision_tower.patch_embed.weight': [1],
      },
      withEyes,
    );
    expect(numNextnPredictLayers).toBe(1);
  });

  it.each([
    ['a layer too many', 'model.layers.3.input_layernorm.weight'],
    ['an expert too many', 'model.layers.1.mlp.experts.4.up_proj.weight'],
    ['an expert of a dense layer', 'model.layers.0.mlp.experts.0.up_proj.weight'],
    ['a bias', 'model.layers.1.self_attn.q_proj.bias'],
    ['a norm of another family', 'model.layers.1.self_attn.q_norm.weight'],
    ['scales of a tensor that is not quantised', 'model.layers.1.self_attn.o_proj.weight_scale_inv'],
    ['ranges of activations that nothing quantises', 'model.layers.1.self_attn.o_proj.input_scale'],
    ['another model', 'vision_tower.patch_embed.weight'],
  ])('refuses %s', (_, tensor) => {
    expect(refusal({ [tensor]: [1] })).toMatchObject({ reason: 'unknown-tensor', tensor });
  });

  it('refuses a tensor that is missing or has another shape, dense or an expert’s', () => {
    for (const tensor of ['model.norm.weight', 'model.layers.2.mlp.experts.3.down_proj.weight']) {
      expect(refusal({ [tensor]: undefined })).toMatchObject({ reason: 'missing-tensor', tensor });
      expect(refusal({ [tensor]: [10, 4] })).toMatchObject({ reason: 'wrong-shape', tensor });
    }
  });
});
