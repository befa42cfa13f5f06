import { z } from 'zod';
import { WeightsError } from './errors.ts';
import { DENSE_FORMATS } from './dense/panels.ts';
import { MAX_DIMENSION, QUANTS, shardBytes, type ExpertShape } from './layout.ts';

/** Raised whenever the meaning of the manifest changes, or what a packed model's folder holds. */
export const FORMAT_VERSION = 3;
/** Raised whenever the bytes of a shard come to mean something else: part of every `modelDigest`. */
const SHARD_VERSION = 1;
/** Raised whenever the packer may write other bytes for the same checkpoint (rounding, order). */
export const PACKER_VERSION = 2;

/** V3 has 58 MoE layers of 256 experts; a manifest of this many entries is under 70 MB of JSON. */
const MAX_LAYERS = 1_000;
const MAX_EXPERTS_PER_LAYER = 1_024;

export const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);

/** A plain name: what a manifest names lies in its own folder. */
const FILE_NAME = /^\w[\w.-]{0,99}$/;
const byteCount = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

/** `manifest.json` of a packed model. Its presence says that every file it names was written whole. */
export const manifestSchema = z
  .object({
    formatVersion: z.literal(FORMAT_VERSION),
    packerVersion: z.number().int().positive(),
    modelId: z.string().min(1).max(200),
    shape: z.object({
      hiddenSize: z.number().int().min(1).max(MAX_DIMENSION),
      moeIntermediateSize: z.number().int().min(1).max(MAX_DIMENSION),
      quant: z.enum(QUANTS),
    }),
    /** Bytes of one shard; all have the same size. */
    shardBytes: z.number().int().positive(),
    /** Layers with routed experts, ascending; where an MTP module was packed, its layer is the last. */
    expertLayers: z.array(z.number().int().min(0).max(65_535)).min(1).max(MAX_LAYERS),
    expertsPerLayer: z.number().int().min(1).max(MAX_EXPERTS_PER_LAYER),
    /** By layer, then by expert: the shard's SHA-256. Identical experts share one shard. */
    shards: z.record(z.string().regex(/^\d{1,5}$/), z.array(sha256Schema)),
    /** The coordinator's own weights: the file DENSE_FILE, and the SHA-256 of each entry's bytes in it, by name. */
    dense: z.object({
      format: z.enum(DENSE_FORMATS),
      bytes: byteCount,
      entries: z.record(z.string().max(200), sha256Schema),
    }),
    /** MTP modules among those; 0 where the checkpoint was stored without the one that its config names. */
    numNextnPredictLayers: z.number().int().min(0).max(1),
    /** Copied from the checkpoint as they are: its config, tokenizer, chat template, license. */
    files: z.array(z.object({ name: z.string().regex(FILE_NAME), bytes: byteCount, sha256: sha256Schema })).max(64),
    /** What packing changed, by tensor kind, where it was measured: Σ (packed − source)² / Σ source². */
    nmse: z.record(z.string().max(200), z.number().min(0)).optional(),
    /** What the checkpoint was when it was packed: see sourceFingerprint. */
    sourceFingerprint: sha256Schema,
    /** SHA-256 over shape and the main model's shards, without the source: equal digests compute equal experts. */
    modelDigest: sha256Schema,
  })
  .superRefine((manifest, context) => {
    const expected = shardBytes(manifest.shape);
    if (manifest.shardBytes !== expected) {
      context.addIssue({ code: 'custom', path: ['shardBytes'], message: `is not the ${expected} that shape implies` });
    }
    if (Object.keys(manifest.shards).length !== manifest.expertLayers.length) {
      context.addIssue({
        code: 'custom',
        path: ['shards'],
        message: 'does not list exactly the layers of expertLayers',
      });
    }
    for (const [i, layer] of manifest.expertLayers.entries()) {
      if (i > 0 && layer <= manifest.expertLayers[i - 1]!) {
        context.addIssue({ code: 'custom', path: ['expertLayers', i], message: 'is not ascending' });
      }
      if (manifest.shards[layer]?.length !== manifest.expertsPerLayer) {
        context.addIssue({
          code: 'custom',
          path: ['shards', `${layer}`],
          message: `does not list ${manifest.expertsPerLayer} experts`,
        });
      }
    }
  });

export type Manifest = z.infer<typeof manifestSchema>;

/** Parse the text of a manifest.json. Throws WeightsError `bad-manifest` naming the keys that are wrong. */
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

/** Before anything else is looked at: of another version, every key may mean something else. */
function refuseOtherVersion(json: unknown, source: string): void {
  const { formatVersion } = z.object({ formatVersion: z.number() }).partial().catch({}).parse(json);
  if (formatVersion === undefined || formatVersion === FORMAT_VERSION) return;
  throw new WeightsError(
    'bad-manifest',
    `${source}: formatVersion is ${formatVersion}, and this version of shoal reads ${FORMAT_VERSION}; ` +
      'pack the model again from its checkpoint with: shoal pack',
  );
}

/** The SHA-256 of one expert's shard; undefined for a layer or expert that the model has not. */
export function shardHash(manifest: Manifest, layer: number, expert: number): string | undefined {
  return manifest.shards[layer]?.[expert];
}

/**
 * The text whose SHA-256 is `modelDigest`: stable whatever the order of keys in the file. The MTP module's experts are not in
 * it: it names what audits were calibrated for, and drafts enter no answer.
 */
export function digestText(manifest: Omit<Manifest, 'modelDigest'>): string {
  const { hiddenSize, moeIntermediateSize, quant }: ExpertShape = manifest.shape;
  const head = [SHARD_VERSION, quant, hiddenSize, moeIntermediateSize, manifest.expertsPerLayer].join(' ');
  const { expertLayers, numNextnPredictLayers } = manifest;
  const layers = expertLayers
    .slice(0, expertLayers.length - numNextnPredictLayers)
    .map((layer) => `${layer} ${manifest.shards[layer]!.join(' ')}`);
  return [head, ...layers, ''].join('\n');
}
