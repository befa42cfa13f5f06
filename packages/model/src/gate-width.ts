import type { GateKind } from './gates/gate-kind.ts';
import { GATES } from './gates/index.ts';
import type { ModelConfig } from './model-config.ts';

type GateOf = Pick<ModelConfig, 'nRoutedExperts' | 'sequenceGate'>;

/** Slots that a gate makes of each sequence, which its experts get in the place of rows; undefined where it makes none. */
export function slotsPerSequence({ nRoutedExperts, sequenceGate }: GateOf): number | undefined {
  if (!sequenceGate) return undefined;
  const kind: GateKind = GATES[sequenceGate.name];
  return kind.numLogits?.(sequenceGate.settings, { layer: 0, numExperts: nRoutedExperts });
}

/** Logits of a row: one for each expert or, of a gate that makes slots, for each slot. */
export function gateWidth(config: GateOf): number {
  return slotsPerSequence(config) ?? config.nRoutedExperts;
}
