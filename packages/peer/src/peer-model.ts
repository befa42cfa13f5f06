import type { ExpertShape } from '@shoal/kernels';

/** What a tab has to know of the coordinator's model. */
export interface PeerModel extends ExpertShape {
  id: string;
  /** Size of every shard. */
  shardBytes: number;
}

export function shapeOf({ hiddenSize, moeIntermediateSize, quant, activation, bias }: PeerModel): ExpertShape {
  return { hiddenSize, moeIntermediateSize, quant, activation, bias };
}

const MODEL_FIELDS = [
  'id',
  'hiddenSize',
  'moeIntermediateSize',
  'quant',
  'activation',
  'bias',
  'shardBytes',
] as const satisfies (keyof PeerModel)[];

export function sameModel(a: PeerModel, b: PeerModel): boolean {
  return MODEL_FIELDS.every((field) => a[field] === b[field]);
}
