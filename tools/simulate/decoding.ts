import type { GateChoices } from './gate-choices.ts';
import type { World } from './world.ts';

export interface DecodingOptions {
  /** Streams that decode together: rows of every lap. */
  streams: number;
  choices: GateChoices;
  /** The coordinator's own layer: attention, gate, shared expert. */
  coordinatorLayerMs: number;
  /** A token of every stream is done. */
  onPass: (passMs: number) => void;
}

/** Streams that decode for ever, a token of each in every pass, over the coordinator's dispatcher. */
export async function decode(world: World, options: DecodingOptions): Promise<never> {
  const { clock, dispatcher, model } = world;
  const { streams, choices, coordinatorLayerMs, onPass } = options;
  const x = new Float32Array(streams * model.hiddenSize);
  const topkWeights = new Float32Array(streams * model.topK).fill(1 / model.topK);
  for (;;) {
    const startedMs = clock.now();
    const experts = dispatcher.batch();
    for (let layer = 0; layer < model.numLayers; layer++) {
      const topkIdx = Uint16Array.from(Array.from({ length: streams }, () => choices.draw(layer)).flat());
      await clock.sleep(coordinatorLayerMs);
      await experts.dispatch({ layer, numRows: streams, x, topkIdx, topkWeights }).combine();
    }
    onPass(clock.now() - startedMs);
  }
}
