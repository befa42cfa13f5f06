import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { RopeConfig } from '../model-config.ts';
import { inverseFrequencies, ropeAttentionFactor, type RopeScaling } from '../rope-scaling.ts';
import { type CommonKeys, positive, refuse, unsupported } from './family.ts';

const share = z.number().positive().max(1);

const typeKeys = {
  type: z.string().optional(),
  rope_type: z.string().optional(),
  rope_theta: positive.optional(),
  partial_rotary_factor: share.optional(),
};

const factorKeys = { factor: z.number().min(1).finite(), original_max_position_embeddings: z.int().min(1) };

/** YaRN's keys, with the defaults that the published implementations share. */
const yarnKeys = {
  beta_fast: positive.default(32),
  beta_slow: positive.default(1),
  mscale: z.number().min(0).finite().default(1),
  mscale_all_dim: z.number().min(0).finite().default(0),
};

const defaultSchema = z.strictObject(typeKeys);
const yarnSchema = z.strictObject({
  ...typeKeys,
  ...factorKeys,
  ...yarnKeys,
  attention_factor: positive.nullish(),
  truncate: z.boolean().default(true),
});
const linearSchema = z.strictObject({
  ...typeKeys,
  factor: factorKeys.factor,
  original_max_position_embeddings: z.int().min(1).optional(),
});
const llama3Schema = z.strictObject({
  ...typeKeys,
  ...factorKeys,
  low_freq_factor: positive,
  high_freq_factor: positive,
});
/** Hunyuan's configs have YaRN's keys beside `alpha`, and no implementation reads them. */
const alphaSchema = z.strictObject({
  ...typeKeys,
  ...z.object({ ...yarnKeys, factor: z.number() }).partial().shape,
  alpha: z.number().min(1).finite(),
});

const factors = z.array(positive).max(4096);
const longropeSchema = z.strictObject({
  ...typeKeys,
  ...z.object(factorKeys).partial().shape,
  short_factor: factors,
  long_factor: factors,
  attention_factor: z.literal(1),
});

export interface RopeKeys {
  theta: number;
  scaling: RopeScaling | undefined;
  /** The share of a head that is rotated; undefined where no key says. */
  partialRotaryFactor: number | undefined;
}

type Scaling = Omit<RopeKeys, 'theta'> & { theta: number | undefined };

/**
 * Reads RoPE's keys as published checkpoints write them (`rope_theta` and `partial_rotary_factor` at the top, `rope_scaling`) or
 * as newer tools do (everything in `rope_parameters`). Throws a ModelError for a type that isn't computed, and for unknown keys.
 */
export function readRopeKeys(raw: CommonKeys, where: string): RopeKeys {
  const scaling = readScaling('rope_scaling', raw.rope_scaling, where);
  const parameters = readScaling('rope_parameters', raw.rope_parameters, where);
  refuse(
    raw,
    where,
    Boolean(scaling && parameters && JSON.stringify(scaling.scaling) !== JSON.stringify(parameters.scaling)),
    'rope_scaling',
    'rope_parameters says otherwise: keep one',
  );
  /** A key that may stand in either place. */
  const either = (key: 'rope_theta' | 'partial_rotary_factor', nested: number | undefined): number | undefined => {
    const top = raw[key] ?? undefined;
    const differ = top !== undefined && nested !== undefined && nested !== top;
    refuse(raw, where, differ, key, `rope_parameters.${key} is ${nested}: keep one`);
    return top ?? nested;
  };
  const theta = either('rope_theta', parameters?.theta ?? scaling?.theta);
  if (theta === undefined) {
    const message = `${where}: rope_theta is missing: add it as in the published config`;
    throw new ModelError('missing-key', 'rope_theta', message);
  }
  const partial = parameters?.partialRotaryFactor ?? scaling?.partialRotaryFactor;
  return {
    theta,
    scaling: parameters?.scaling ?? scaling?.scaling,
    partialRotaryFactor: either('partial_rotary_factor', partial),
  };
}

/** Reads one of the two keys; undefined if it is absent. */
function readScaling(key: 'rope_scaling' | 'rope_parameters', value: unknown, where: string): Scaling | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new ModelError('bad-value', key, `${where}: ${key} is ${JSON.stringify(value)}: expected an object`);
  }
  const { type, rope_type: ropeType } = value as { type?: unknown; rope_type?: unknown };
  if (type != null && ropeType != null && type !== ropeType) {
    throw new ModelError('contradiction', key, `${where}: ${key}.type and ${key}.rope_type differ: keep one`);
  }
  const kind = ropeType ?? type ?? (key === 'rope_parameters' ? 'default' : undefined);
  const parsed = parseScaling(kind, key, value, where);
  return { ...parsed, theta: parsed.keys.rope_theta, partialRotaryFactor: parsed.keys.partial_rotary_factor };
}

function parseScaling(kind: unknown, key: 'rope_scaling' | 'rope_parameters', value: object, where: string) {
  switch (kind) {
    case 'default':
      return { keys: parseObject(defaultSchema, key, value, where), scaling: undefined };
    case 'yarn': {
      const keys = parseObject(yarnSchema, key, value, where);
      return { keys, scaling: yarnScaling(keys) };
    }
    case 'linear': {
      const keys = parseObject(linearSchema, key, value, where);
      return { keys, scaling: { type: 'linear' as const, factor: keys.factor } };
    }
    case 'llama3': {
      const keys = parseObject(llama3Schema, key, value, where);
      return { keys, scaling: llama3Scaling(keys) };
    }
    case 'dynamic': {
      // Without alpha it depends on the length of the text, which would change earlier keys.
      if (!('alpha' in value))
        throw unsupported(where, key, 'has the type "dynamic" without alpha, which is not computed');
      const keys = parseObject(alphaSchema, key, value, where);
      return { keys, scaling: { type: 'ntk-alpha' as const, alpha: keys.alpha } };
    }
    case 'longrope': {
      const { short_factor: short, long_factor: long } = value as { short_factor?: unknown; long_factor?: unknown };
      // Else the keys of a text would change when it becomes long.
      if (short === undefined || JSON.stringify(short) !== JSON.stringify(long))
        throw unsupported(
          where,
          key,
          'has the type "longrope" with other factors for long texts, which is not computed',
        );
      const keys = parseObject(longropeSchema, key, value, where);
      return { keys, scaling: { type: 'factors' as const, factors: keys.short_factor } };
    }
    default: {
      const computed =
        'this version computes unscaled RoPE ("default"), "linear", "yarn", "llama3", "dynamic" with alpha, and "longrope" with the same factors for all texts';
      throw unsupported(where, key, `has the type ${JSON.stringify(kind)}; ${computed}`);
    }
  }
}

function yarnScaling(yarn: z.infer<typeof yarnSchema>): RopeScaling {
  return {
    type: 'yarn',
    factor: yarn.factor,
    originalMaxPositionEmbeddings: yarn.original_max_position_embeddings,
    betaFast: yarn.beta_fast,
    betaSlow: yarn.beta_slow,
    mscale: yarn.mscale,
    mscaleAllDim: yarn.mscale_all_dim,
    attentionFactor: yarn.attention_factor ?? undefined,
    truncate: yarn.truncate,
  };
}

function llama3Scaling(keys: z.infer<typeof llama3Schema>): RopeScaling {
  return {
    type: 'llama3',
    factor: keys.factor,
    originalMaxPositionEmbeddings: keys.original_max_position_embeddings,
    lowFreqFactor: keys.low_freq_factor,
    highFreqFactor: keys.high_freq_factor,
  };
}

/** `null` is as if the key were absent. */
function parseObject<S extends z.ZodType>(schema: S, key: string, value: object, where: string): z.infer<S> {
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(value).filter(([, one]) => one !== null)));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const path = [key, ...issue.path].join('.');
  const reason = issue.code === 'unrecognized_keys' ? 'unsupported' : 'bad-value';
  throw new ModelError(reason, key, `${where}: ${path}: ${issue.message}`);
}

/** The RoPE configuration for heads of which `dim` values are rotated. */
export function ropeConfig({ theta, scaling }: RopeKeys, dim: number, pairs: RopeConfig['pairs']): RopeConfig {
  return {
    pairs,
    dim,
    inverseFrequencies: inverseFrequencies(theta, dim, scaling),
    attentionFactor: ropeAttentionFactor(scaling),
  };
}

/** Throws `unsupported` where only a share of a head would be rotated, in families of which no implementation reads that key. */
export function refusePartialRotary({ partialRotaryFactor = 1 }: RopeKeys, where: string): void {
  if (partialRotaryFactor !== 1) {
    const detail = `is ${partialRotaryFactor}; in this family only whole heads are rotated`;
    throw unsupported(where, 'partial_rotary_factor', detail);
  }
}
