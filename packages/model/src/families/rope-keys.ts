import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { RopeConfig } from '../model-config.ts';
import { inverseFrequencies, type Yarn, yarnMscale } from '../yarn.ts';
import { type CommonKeys, positive, refuse, unsupported } from './family.ts';

const typeKeys = { type: z.string().optional(), rope_type: z.string().optional(), rope_theta: positive.optional() };

const defaultSchema = z.strictObject(typeKeys);

/** YaRN's keys, with the defaults that the published implementations share. */
const yarnSchema = z.strictObject({
  ...typeKeys,
  factor: z.number().min(1).finite(),
  original_max_position_embeddings: z.int().min(1),
  beta_fast: positive.default(32),
  beta_slow: positive.default(1),
  mscale: z.number().min(0).finite().default(1),
  mscale_all_dim: z.number().min(0).finite().default(0),
  attention_factor: positive.nullish(),
  truncate: z.literal(true).optional(),
});

export interface RopeKeys {
  theta: number;
  yarn: Yarn | undefined;
}

/**
 * Reads RoPE's keys as published checkpoints write them (`rope_theta` at the top, `rope_scaling`) or as newer tools do
 * (everything in `rope_parameters`). Throws a ModelError for a type other than default and yarn, and for unknown keys.
 */
export function readRopeKeys(raw: CommonKeys, where: string): RopeKeys {
  const scaling = readScaling('rope_scaling', raw.rope_scaling, where);
  const parameters = readScaling('rope_parameters', raw.rope_parameters, where);
  refuse(
    raw,
    where,
    Boolean(scaling && parameters && JSON.stringify(scaling.yarn) !== JSON.stringify(parameters.yarn)),
    'rope_scaling',
    'rope_parameters says otherwise: keep one',
  );
  const nested = parameters?.theta ?? scaling?.theta;
  refuse(
    raw,
    where,
    raw.rope_theta !== undefined && nested !== undefined && nested !== raw.rope_theta,
    'rope_theta',
    `rope_parameters.rope_theta is ${nested}: keep one`,
  );
  const theta = raw.rope_theta ?? nested;
  if (theta === undefined) {
    const message = `${where}: rope_theta is missing: add it as in the published config`;
    throw new ModelError('missing-key', 'rope_theta', message);
  }
  return { theta, yarn: parameters?.yarn ?? scaling?.yarn };
}

/** Reads one of the two keys; undefined if it is absent. */
function readScaling(
  key: 'rope_scaling' | 'rope_parameters',
  value: unknown,
  where: string,
): { theta: number | undefined; yarn: Yarn | undefined } | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new ModelError('bad-value', key, `${where}: ${key} is ${JSON.stringify(value)}: expected an object`);
  }
  const { type, rope_type: ropeType } = value as { type?: unknown; rope_type?: unknown };
  if (type != null && ropeType != null && type !== ropeType) {
    throw new ModelError('contradiction', key, `${where}: ${key}.type and ${key}.rope_type differ: keep one`);
  }
  const kind = ropeType ?? type ?? (key === 'rope_parameters' ? 'default' : undefined);
  if (kind === 'default') return { theta: parseObject(defaultSchema, key, value, where).rope_theta, yarn: undefined };
  if (kind !== 'yarn') {
    const computed = 'this version computes unscaled RoPE ("default") and "yarn"';
    throw unsupported(where, key, `has the type ${JSON.stringify(kind)}; ${computed}`);
  }
  const yarn = parseObject(yarnSchema, key, value, where);
  return {
    theta: yarn.rope_theta,
    yarn: {
      factor: yarn.factor,
      originalMaxPositionEmbeddings: yarn.original_max_position_embeddings,
      betaFast: yarn.beta_fast,
      betaSlow: yarn.beta_slow,
      mscale: yarn.mscale,
      mscaleAllDim: yarn.mscale_all_dim,
      attentionFactor: yarn.attention_factor ?? undefined,
    },
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
export function ropeConfig({ theta, yarn }: RopeKeys, dim: number, pairs: RopeConfig['pairs']): RopeConfig {
  const attentionFactor = yarn
    ? (yarn.attentionFactor ?? yarnMscale(yarn.factor, yarn.mscale) / yarnMscale(yarn.factor, yarn.mscaleAllDim))
    : 1;
  return { pairs, dim, inverseFrequencies: inverseFrequencies(theta, dim, yarn), attentionFactor };
}
