import type { Cluster } from '../cluster/cluster.ts';

/** How often a member tells the leader which experts are busy for it. Their load halves in 15 minutes (LoadMeter). */
const TELL_MS = 30_000;
/** Steps for each doubling: a load is known to 5 %. 255 of them reach 3.9e9 rows. */
const STEPS = 8;

export interface ClusterLoadOptions {
  cluster: Pick<Cluster, 'members' | 'bus' | 'lease'>;
  numExperts: number;
  /** [numExperts] recent rows of own answers. */
  own: () => ArrayLike<number>;
  now: () => number;
}

/** Rows per expert of all members, so that what is busy for any of them gets further replicas. */
export class ClusterLoad {
  readonly #options: ClusterLoadOptions;
  readonly #told = new Map<string, Float64Array>();
  readonly #stop: () => void;
  #tellMs = 0;
  #last = '';

  constructor(options: ClusterLoadOptions) {
    this.#options = options;
    this.#stop = options.cluster.bus.on('load', (from, { rows }) => {
      const load = loadOf(rows, options.numExperts);
      if (load) this.#told.set(from, load);
    });
  }

  /** [numExperts] recent rows of all members' answers. */
  all(): ArrayLike<number> {
    const own = this.#options.own();
    if (this.#told.size === 0) return own;
    const alive = new Set(this.#options.cluster.members.alive().map(({ id }) => id));
    const sum = Float64Array.from(own);
    for (const [member, load] of this.#told) {
      if (!alive.has(member)) this.#told.delete(member);
      else for (let e = 0; e < sum.length; e++) sum[e]! += load[e]!;
    }
    return sum;
  }

  /** Called once a second: tells the leader, if there is news. */
  tick(): void {
    const { cluster, own, now } = this.#options;
    const { leader, held } = cluster.lease;
    if (leader === undefined || held || now() < this.#tellMs) return;
    this.#tellMs = now() + TELL_MS;
    const rows = textOf(own());
    const message = `${leader} ${rows}`;
    if (message === this.#last) return;
    this.#last = message;
    cluster.bus.send(leader, 'load', { rows });
  }

  close(): void {
    this.#stop();
  }
}

/** A byte for each expert, in base64: the logarithm of its rows. */
function textOf(load: ArrayLike<number>): string {
  const codes = Uint8Array.from(load, (rows) => Math.min(255, Math.round(STEPS * Math.log2(1 + rows))));
  return Buffer.from(codes).toString('base64');
}

function loadOf(text: string, numExperts: number): Float64Array | undefined {
  const codes = Buffer.from(text, 'base64');
  return codes.length === numExperts ? Float64Array.from(codes, (code) => 2 ** (code / STEPS) - 1) : undefined;
}
