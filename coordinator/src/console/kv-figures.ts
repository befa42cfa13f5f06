import { kvWidth, type ModelConfig, plainMhaWidth } from '@shoal/model';

/** KV bytes per token of plain multi-head attention, with as many layers and values of the same size as `kvBytesPerToken`. */
export function mhaBytesPerToken({ attention }: Pick<ModelConfig, 'attention'>, kvBytesPerToken: number): number {
  return (kvBytesPerToken / kvWidth(attention)) * plainMhaWidth(attention);
}
