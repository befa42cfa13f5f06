import { z } from 'zod';
import type { AttentionSpan, LayerAttention, LayerKind } from '../model-config.ts';
import { type CommonKeys, layerCount, refuse, unsupported } from './family.ts';

/** A number of positions. */
export const positions = z
  .int()
  .min(1)
  .max(1 << 24);

/** The keys by which newer configs give each layer its span. */
export const spanKeys = {
  layer_types: z.array(z.string()).max(1024).nullish(),
  sliding_window: positions.nullish(),
  attention_chunk_size: positions.nullish(),
} satisfies z.ZodRawShape;

type SpanKeys = CommonKeys & z.infer<z.ZodObject<typeof spanKeys>>;

/** The spans that `layer_types` lists, one for each layer; undefined without that key. */
export function readLayerTypes(raw: SpanKeys, where: string): AttentionSpan[] | undefined {
  const types = raw.layer_types;
  if (!types) return undefined;
  refuseLength(raw, where, 'layer_types', types.length);
  const sized = (kind: 'window' | 'chunk', key: 'sliding_window' | 'attention_chunk_size'): AttentionSpan => {
    const value = raw[key];
    const detail = `layer_types has layers of "${kind === 'window' ? 'sliding' : 'chunked'}_attention", which need it`;
    refuse({ ...raw, [key]: value ?? null }, where, value === undefined || value === null, key, detail);
    return kind === 'window' ? windowSpan(value!, raw) : { kind, positions: value! };
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

/** The span of a window; one as long as the context leaves nothing out. */
export function windowSpan(size: number, { max_position_embeddings: context }: CommonKeys): AttentionSpan {
  return size < context ? { kind: 'window', positions: size } : { kind: 'full' };
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
