import type { PlacementView } from '@shoal/protocol';
import { formatNumber, formatRanges, plural } from '../format.ts';

/** Describes the map in one or two sentences, for screen readers and everyone else. */
export function mapSummary(placement: PlacementView): string {
  if (placement.layers.length === 0) return 'No layer is on tabs: the coordinator computes them all.';
  const counts = placement.replicas.flat();
  const size = `${plural(placement.layers.length, 'layer')} of ${placement.expertsPerLayer} experts (epoch ${placement.epoch})`;
  const uncovered = counts.filter((count) => count === 0).length;
  const single = counts.filter((count) => count === 1).length;
  if (uncovered === counts.length) return `${size}. No expert is on any tab: the coordinator computes all of them.`;
  const bare = placement.layers.filter((_, i) => placement.replicas[i]?.includes(0));
  const cover =
    uncovered === 0
      ? `All ${formatNumber(counts.length)} experts are on at least one tab`
      : `${formatNumber(uncovered)} of ${formatNumber(counts.length)} experts are on no tab (${bare.length === 1 ? 'layer' : 'layers'} ${formatRanges(bare)})`;
  const copies =
    single === 0
      ? 'none has only one replica'
      : `${formatNumber(single)} ${single === 1 ? 'has' : 'have'} only one replica`;
  return `${size}. ${cover}; ${copies}.`;
}

export interface LayerSummary {
  layer: number;
  covered: number;
  uncovered: { count: number; text: string };
  fewest: number;
  tabs: number;
  rowsPerSecond: number;
}

export function layerSummaries(placement: PlacementView): LayerSummary[] {
  return placement.layers.map((layer, row) => {
    const replicas = placement.replicas[row] ?? [];
    const missing = replicas.flatMap((count, expert) => (count === 0 ? [expert] : []));
    return {
      layer,
      covered: replicas.length - missing.length,
      uncovered: { count: missing.length, text: missing.length === 0 ? 'none' : formatRanges(missing) },
      fewest: Math.min(...replicas),
      tabs: new Set(placement.holders[row]?.flat()).size,
      rowsPerSecond: (placement.load[row] ?? []).reduce((sum, rows) => sum + rows, 0),
    };
  });
}
