import type { EngineRow, ForwardEngine } from '@shoal/model';

/** Adds up the time that the dense engine computes, whatever calls it. Programs never overlap. */
export class EngineWatch {
  /** Time in the engine's programs since the watch began. */
  busyMs = 0;
  /** Passes of the main model since the watch began, each counted once per sequence in it. */
  streamPasses = 0;
  readonly #sinceMs = performance.now();

  constructor(forward: ForwardEngine) {
    const pass = forward.forward.bind(forward);
    const counted: ForwardEngine['forward'] = async (rows, ...rest) => {
      const result = await pass(rows, ...rest);
      // Counted when its tokens are there, so that both fall in the same span.
      this.streamPasses += new Set(rows.map(({ cache }: EngineRow) => cache)).size;
      return result;
    };
    forward.forward = counted;
    for (const name of ['forward', 'forwardMtp'] as const) {
      const run = forward[name].bind(forward) as ForwardEngine['forward'];
      const watched: ForwardEngine['forward'] = (rows, experts, observe = {}) =>
        run(rows, experts, {
          ...observe,
          segment: (segment) => {
            this.busyMs += segment.endedMs - segment.startedMs;
            observe.segment?.(segment);
          },
        });
      Object.assign(forward, { [name]: watched });
    }
  }

  /** The rest of the time since the watch began. */
  get idleMs(): number {
    return performance.now() - this.#sinceMs - this.busyMs;
  }
}
