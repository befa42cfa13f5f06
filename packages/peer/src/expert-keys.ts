import type { ShardRef } from '@shoal/protocol';

/** `layer.expert` */
export function keyOf(layer: number, expert: number): string {
  return `${layer}.${expert}`;
}

export function expertsByLayer(shards: readonly ShardRef[]): Map<number, number[]> {
  const layers = new Map<number, number[]>();
  for (const { layer, expert } of shards) {
    const experts = layers.get(layer);
    if (experts) experts.push(expert);
    else layers.set(layer, [expert]);
  }
  return layers;
}
