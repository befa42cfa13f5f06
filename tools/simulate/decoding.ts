import type { GateChoices } from './gate-choices.ts';
import type { World } from './world.ts';

export interface DecodingOptions {
  /** Concurrent streams: the rows of each lap. */
  streams: number;
  choices: GateChoices;
  /** Dense part of a layer: attention, gate, shared expert. */
  coordinatorLayerMs: number;
  /** After a token of each stream. */
  onPass: (passMs: number) => void;
}

/** Decodes streams forever through the coordinator's dispatcher, one token of each per pass. */
export async function decode(world: World, options: DecodingOptions): Promise<never> {
  const { clock, dispatcher, model } = world;
  const { streams, choices, coordinatorLayerMs, onPass } = options;
  const x = new Float32Array(streams * model.hiddenSize);
  const topkWeights = new Float32Array(streams * model.topK).fill(1 / model.topK);
  for (;;) {
    const startedMs = clock.now();
    const experts = dispatcher.batch();
    for (let layer = 0; layer < model.numLayers; layer++) {
      const topkIdx = Int32Array.from(Array.from({ length: streams }, () => choices.draw(layer)).flat());
      await clock.sleep(coordinatorLayerMs);
      await experts.dispatch({ layer, numRows: streams, x, topkIdx, topkWeights }).combine();
    }
    onPass(clock.now() - startedMs);
  }
}
