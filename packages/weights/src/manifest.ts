import { EXPERT_ACTIVATIONS } from '@shoal/model';
import { z } from 'zod';
import { WeightsError } from './errors.ts';
import { DENSE_FORMATS } from './dense/panels.ts';
import { hasNoExperts, MAX_DIMENSION, QUANTS, shardBytes, type ExpertShape } from './layout.ts';

/** To be raised when the meaning of the manifest or the contents of a packed model's folder change. */
export const FORMAT_VERSION = 3;
/**
 * The version of models whose experts are of another kind than SwiGLU without biases, or in mxfp4. All others keep the version
 * above, so that what was packed before is read, and an earlier version of shoal refuses only what it cannot compute.
 */
const KINDS_FORMAT_VERSION = 4;
/** The version of dense models, which have no experts. */
const DENSE_FORMAT_VERSION = 5;

/** The version of a packed model of these experts. */
export function formatVersionOf(shape: ExpertShape): 3 | 4 | 5 {
  if (hasNoExperts(shape)) return DENSE_FORMAT_VERSION;
  const { quant, activation = 'swiglu', bias = false } = shape;
  return activation === 'swiglu' && !bias && quant !== 'mxfp4' ? FORMAT_VERSION : KINDS_FORMAT_VERSION;
}

/** To be raised when the meaning of a shard's bytes changes. Part of every `modelDigest`. */
const SHARD_VERSION = 1;
/** To be raised when the packer may write other bytes for the same checkpoint (rounding, order). */
export const PACKER_VERSION = 2;

/** V3 has 58 MoE layers of 256 experts; a manifest of this many entries is under 70 MB of JSON. */
const MAX_LAYERS = 1_000;
const MAX_EXPERTS_PER_LAYER = 1_024;

export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);

/** A plain name, so that a manifest names only files in its own folder. */
const FILE_NAME = /^\w[\w.-]{0,99}$/;
const byteCount = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** `manifest.json` of a packed model. If it is present, every file that it names is complete. */
export const manifestSchema = z
  .object({
    formatVersion: z.literal([FORMAT_VERSION, KINDS_FORMAT_VERSION, DENSE_FORMAT_VERSION]),
    packerVersion: z.number().int().positive(),
    modelId: z.string().min(1).max(200),
    shape: z.object({
      hiddenSize: z.number().int().min(1).max(MAX_DIMENSION),
      /** 0 without experts. */
      moeIntermediateSize: z.number().int().min(0).max(MAX_DIMENSION),
      quant: z.enum(QUANTS),
      /** Absent: swiglu. */
      activation: z.enum(EXPERT_ACTIVATIONS).optional(),
      /** Absent: false. */
      bias: z.boolean().optional(),
    }),
    /** Bytes of one shard; all have the same size. 0 without experts. */
    shardBytes: z.number().int().min(0),
    /** Layers with routed experts, ascending. The layer of a packed MTP module is the last. */
    expertLayers: z.array(z.number().int().min(0).max(65_535)).max(MAX_LAYERS),
    expertsPerLayer: z.number().int().min(0).max(MAX_EXPERTS_PER_LAYER),
    /** By layer, then by expert: the shard's SHA-256. Identical experts share one shard. */
    shards: z.record(z.string().regex(/^\d{1,5}$/), z.array(sha256Schema)),
    /** The coordinator's own weights: the file DENSE_FILE, and the SHA-256 of each entry's bytes in it, by name. */
    dense: z.object({
      format: z.enum(DENSE_FORMATS),
      bytes: byteCount,
      entries: z.record(z.string().max(200), sha256Schema),
    }),
    /** MTP modules among these layers; 0 if the checkpoint was stored without the one in its config. */
    numNextnPredictLayers: z.number().int().min(0).max(1),
    /** Files copied from the checkpoint: its config, tokenizer, chat template, license. */
    files: z.array(z.object({ name: z.string().regex(FILE_NAME), bytes: byteCount, sha256: sha256Schema })).max(64),
    /** Error of packing by tensor kind, if it was measured: Σ (packed − source)² / Σ source². */
    nmse: z.record(z.string().max(200), z.number().min(0)).optional(),
    /** Identifies the checkpoint that was packed: see sourceFingerprint. */
    sourceFingerprint: sha256Schema,
    /** SHA-256 over the shape and the main model's shards: equal digests mean equal experts. */
    modelDigest: sha256Schema,
    /** SHA-256 of the manifest without this key, as JSON without spaces. Absent where an earlier version packed. */
    manifestDigest: sha256Schema.optional(),
  })
  .superRefine((manifest, context) => {
    const { shards, expertLayers, expertsPerLayer } = manifest;
    const refuse = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message });
    const version = formatVersionOf(manifest.shape);
    if (manifest.formatVersion !== version) refuse(['formatVersion'], `is not the ${version} that shape implies`);
    const expected = shardBytes(manifest.shape);
    if (manifest.shardBytes !== expected) refuse(['shardBytes'], `is not the ${expected} that shape implies`);
    const isDense = hasNoExperts(manifest.shape);
    if ((expertLayers.length === 0) !== isDense || (expertsPerLayer === 0) !== isDense) {
      refuse(['expertLayers'], 'does not fit the experts that shape implies');
    }
    if (Object.keys(shards).length !== expertLayers.length) {
      refuse(['shards'], 'does not list exactly the layers of expertLayers');
    }
    for (const [i, layer] of expertLayers.entries()) {
      if (i > 0 && layer <= expertLayers[i - 1]!) refuse(['expertLayers', i], 'is not ascending');
      if (shards[layer]?.length !== expertsPerLayer) {
        refuse(['shards', `${layer}`], `does not list ${expertsPerLayer} experts`);
      }
    }
  });

export type Manifest = z.infer<typeof manifestSchema>;

/** Parses the text of a manifest.json. Throws WeightsError `bad-manifest` naming the invalid keys. */
export function parseManifest(text: string, source = 'manifest.json'): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new WeightsError('bad-manifest', `${source} is not JSON; pack the model again`, { cause });
  }
  refuseOtherVersion(json, source);
  const result = manifestSchema.safeParse(json);
  if (result.success) return result.data;
  const issues = result.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.') || '(root)'} ${issue.message}`);
  throw new WeightsError('bad-manifest', `${source} is not valid (${issues.join('; ')}); pack the model again`);
}

/** Comes first, since in another version every key may have another meaning. */
function refuseOtherVersion(json: unknown, source: string): void {
  const { formatVersion } = z.object({ formatVersion: z.number() }).partial().catch({}).parse(json);
  const known: readonly number[] = [FORMAT_VERSION, KINDS_FORMAT_VERSION, DENSE_FORMAT_VERSION];
  if (formatVersion === undefined || known.includes(formatVersion)) return;
  throw new WeightsError(
    'bad-manifest',
    `${source}: formatVersion is ${formatVersion}, but this version of shoal reads ${known.join(', ')}; ` +
      'pack the model again from its checkpoint with: shoal pack',
  );
}

/** The SHA-256 of one expert's shard; undefined for a layer or expert that the model does not have. */
export function shardHash(manifest: Manifest, layer: number, expert: number): string | undefined {
  return manifest.shards[layer]?.[expert];
}

/**
 * The text whose SHA-256 is `modelDigest`, independent of the order of keys in the file. It leaves out the MTP module's experts:
 * the digest identifies the experts for which audits were calibrated, and drafts are part of no answer.
 */
export function digestText(manifest: Omit<Manifest, 'modelDigest'>): string {
  const { hiddenSize, moeIntermediateSize, quant, activation = 'swiglu', bias = false }: ExpertShape = manifest.shape;
  // Not of the usual kind, whose digests are those of before there were others.
  const kind = activation === 'swiglu' && !bias ? [] : [activation, bias ? 'biases' : 'no-biases'];
  const head = [SHARD_VERSION, quant, hiddenSize, moeIntermediateSize, manifest.expertsPerLayer, ...kind].join(' ');
  const { expertLayers, numNextnPredictLayers } = manifest;
  const layers = expertLayers
    .slice(0, expertLayers.length - numNextnPredictLayers)
    .map((layer) => `${layer} ${manifest.shards[layer]!.join(' ')}`);
  return [head, ...layers, ''].join('\n');
}
