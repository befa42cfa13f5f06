import { kvWidth, type ModelConfig, plainMhaWidth } from '@shoal/model';

/** What plain multi-head attention would keep per token, in as many layers and in values of the same size as were allocated. */
export function mhaBytesPerToken({ attention }: Pick<ModelConfig, 'attention'>, kvBytesPerToken: number): number {
  return (kvBytesPerToken / kvWidth(attention)) * plainMhaWidth(attention);
}
