import { kvWidth, type ModelConfig, plainMhaWidth } from '@shoal/model';

/** KV bytes per token of plain multi-head attention, with as many layers and values of the same size as `kvBytesPerToken`. */
export function mhaBytesPerToken(
  { attention, numHiddenLayers }: Pick<ModelConfig, 'attention' | 'numHiddenLayers'>,
  kvBytesPerToken: number,
): number {
  const width = kvWidth(attention);
  const layerBytes = kvBytesPerToken / numHiddenLayers;
  const valueBytes = Math.floor(layerBytes / width);
  // What is kept of a position besides its values is the same for both.
  return kvBytesPerToken + numHiddenLayers * (plainMhaWidth(attention) - width) * valueBytes;
}
