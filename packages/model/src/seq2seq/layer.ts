import type { RowPlace } from '../attention.ts';
import type { ExpertDispatch } from '../dispatch.ts';
import { activate, addBias } from '../expert.ts';
import { gqa } from '../gqa.ts';
import type { ForwardObserver } from '../forward-observer.ts';
import { withRoutedExperts } from '../layer.ts';
import { addInPlace, linear } from '../math.ts';
import type { ModelConfig } from '../model-config.ts';
import { ropeAngles } from '../rope.ts';
import type { RowFaults } from '../row-faults.ts';
import type { Seq2SeqLayerWeights } from '../weights.ts';
import { normed, partsOf } from './model.ts';
import type { PositionBias } from './positions.ts';

/** What the layers of one stack's pass need. */
export interface StackPass {
  config: ModelConfig;
  rows: readonly RowPlace[];
  /** Rows of each source in turn; absent in the decoder, where the gate sees each row alone. */
  lengths?: readonly number[];
  bias: PositionBias | undefined;
  experts: ExpertDispatch;
  observe: ForwardObserver;
  faults: RowFaults;
}

/** What `gqa` needs beside its rows, of attention without RoPE. */
export function attentionInput(
  { config, rows }: Pick<StackPass, 'config' | 'rows'>,
  x: Float32Array,
  cacheLayer: number,
) {
  const { hiddenSize, rmsNormEps, rope, layerAttention } = config;
  const angles = ropeAngles(
    rows.map(({ position }) => position),
    rope,
  );
  return { x, hiddenSize, rows, angles, cacheLayer, rmsNormEps, layer: layerAttention[0]! };
}

/** x += attention(norm(x)) over the rows of the same stack, whose keys and values it writes at `cacheLayer`. */
export function attendToOwn(pass: StackPass, weights: Seq2SeqLayerWeights, cacheLayer: number, x: Float32Array): void {
  const { attention } = partsOf(pass.config);
  const input = attentionInput(pass, normed(x, weights.attentionNorm, pass.config), cacheLayer);
  addInPlace(x, gqa(attention, weights.attention, { ...input, positionBias: pass.bias }));
}

/** x += ffn(norm(x)), with the experts of layer `layer` of the model. */
export async function addFfn(
  pass: StackPass,
  weights: Seq2SeqLayerWeights,
  layer: number,
  x: Float32Array,
): Promise<void> {
  const { config, faults } = pass;
  const { hiddenSize, intermediateSize: width, expert } = config;
  const h = normed(x, weights.ffnNorm, config);
  faults.check(h, () => `the norm after attention in layer ${layer}`);
  const { ffn } = weights;
  if (ffn.kind === 'moe') {
    addInPlace(x, await withRoutedExperts(pass, ffn.gate, layer, h, () => new Float32Array(x.length)));
  } else {
    const numRows = x.length / hiddenSize;
    const up = addBias(linear(h, ffn.up, numRows, hiddenSize, width), ffn.upBias);
    const hidden = up.map((u) => activate(expert.activation, 0, u));
    addInPlace(x, addBias(linear(hidden, ffn.down, numRows, width, hiddenSize), ffn.downBias));
  }
  faults.check(x, () => `what the FFN gives in layer ${layer}`);
}
