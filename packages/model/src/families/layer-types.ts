import { z } from 'zod';
import type { AttentionSpan, LayerAttention, LayerKind } from '../model-config.ts';
import { type CommonKeys, layerCount, refuse, unsupported } from './family.ts';

const MAX_POSITIONS = 1 << 24;

/** A number of positions. */
export const positions = z.int().min(1).max(MAX_POSITIONS);

/** The keys by which newer configs give each layer its span. */
export const spanKeys = {
  layer_types: z.array(z.string()).max(1024).nullish(),
  // 0 is none.
  sliding_window: z.int().min(0).max(MAX_POSITIONS).nullish(),
  attention_chunk_size: positions.nullish(),
} satisfies z.ZodRawShape;

type ContextKey = Pick<CommonKeys, 'max_position_embeddings'>;

type SpanKeys = ContextKey & Pick<CommonKeys, 'num_hidden_layers'> & z.infer<z.ZodObject<typeof spanKeys>>;

/** The spans that `layer_types` lists, one for each layer; undefined without that key. */
export function readLayerTypes(raw: SpanKeys, where: string): AttentionSpan[] | undefined {
  const types = raw.layer_types;
  if (!types) return undefined;
  refuseLength(raw, where, 'layer_types', types.length);
  const sized = (kind: 'window' | 'chunk', key: 'sliding_window' | 'attention_chunk_size'): AttentionSpan => {
    const value = raw[key] || undefined;
    const detail = `layer_types has layers of "${kind === 'window' ? 'sliding' : 'chunked'}_attention", which need it`;
    refuse({ ...raw, [key]: raw[key] ?? null }, where, value === undefined, key, detail);
    return spanOf(kind, value!, raw);
  };
  return types.map((type) => {
    switch (type) {
      case 'full_attention':
        return { kind: 'full' };
      case 'sliding_attention':
        return sized('window', 'sliding_window');
      case 'chunked_attention':
        return sized('chunk', 'attention_chunk_size');
      default:
        throw unsupported(
          where,
          'layer_types',
          `has "${type}"; this version computes "full_attention", "sliding_attention" and "chunked_attention"`,
        );
    }
  });
}

/** A span of so many positions; one as long as the context leaves nothing out. */
export function spanOf(kind: 'window' | 'chunk', size: number, raw: ContextKey): AttentionSpan {
  return size < raw.max_position_embeddings ? { kind, positions: size } : { kind: 'full' };
}

/** Layers with these spans and RoPE. */
export function withRope(spans: readonly AttentionSpan[]): LayerAttention[] {
  return spans.map((span) => ({ span, rope: true }));
}

/** Refuses a list that has not one entry for each layer. */
export function refuseLength<K extends string>(
  raw: Partial<Record<K, unknown>> & { num_hidden_layers: number },
  where: string,
  key: K,
  length: number,
): void {
  const layers = raw.num_hidden_layers;
  refuse(raw, where, length !== layers, key, `num_hidden_layers is ${layers}, and it has ${length} entries`);
}

/** The keys by which Qwen's configs say which layers have experts. */
export const sparseStepKeys = {
  decoder_sparse_step: z.int().min(1).max(1024).default(1),
  mlp_only_layers: z.array(layerCount).max(1024).nullish(),
} satisfies z.ZodRawShape;

type SparseStepKeys = z.infer<z.ZodObject<typeof sparseStepKeys>> & { num_hidden_layers: number };

/** Every `decoder_sparse_step`-th layer, counted from 1, has experts unless `mlp_only_layers` lists it. */
export function sparseStepKinds(raw: SparseStepKeys): LayerKind[] {
  const dense = new Set(raw.mlp_only_layers);
  return Array.from({ length: raw.num_hidden_layers }, (_, layer) =>
    !dense.has(layer) && (layer + 1) % raw.decoder_sparse_step === 0 ? 'moe' : 'dense',
  );
}

/** Layers from `first` on have experts. */
export function denseFirst(numLayers: number, first: number): LayerKind[] {
  return Array.from({ length: numLayers }, (_, layer) => (layer < first ? 'dense' : 'moe'));
}

/** Throws `unsupported` for a window without `layer_types`: which layers have it differs between implementations of Qwen's models. */
export function refuseUnlistedWindow(raw: { use_sliding_window: boolean }, where: string): void {
  if (!raw.use_sliding_window) return;
  const detail =
    'is true, but implementations disagree about which layers have the window, and no published model has one';
  throw unsupported(where, 'use_sliding_window', detail);
}
