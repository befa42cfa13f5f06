import type { EngineRow, ForwardEngine } from '@shoal/model';

/** Adds up when the coordinator's dense engine computes, whoever asks it to. Programs run one at a time, so times never overlap. */
export class EngineWatch {
  /** In programs since the watch began. */
  busyMs = 0;
  /** Passes of the main model since then, each once for every sequence in it: what a sequence waits for. */
  streamPasses = 0;
  readonly #sinceMs = performance.now();

  constructor(forward: ForwardEngine) {
    const pass = forward.forward.bind(forward);
    const counted: ForwardEngine['forward'] = async (rows, ...rest) => {
      const result = await pass(rows, ...rest);
      // When its tokens are there, so that both are counted in the same span.
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

  /** Of all time since the watch began. */
  get idleMs(): number {
    return performance.now() - this.#sinceMs - this.busyMs;
  }
}
