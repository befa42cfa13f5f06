import { type MirrorFault, shardUrl } from '@shoal/protocol';
import { ShardError, type ShardErrorReason } from './errors.ts';
import { fetchShard, type ShardRequest, type ShardSource } from './fetch-shard.ts';

/** A mirror that is out of reach costs a joining tab this long, once. */
const STALL_MS = 5_000;
/** A download that would be slower than this, one of a few in parallel, comes from the coordinator. */
const MIN_BYTES_PER_MS = 16;
const MIN_IN_ALL_MS = 10_000;
/** How long a mirror is left alone after its first fault; four times longer after each further one without a shard between. */
const FIRST_PAUSE_MS = 10_000;
const PAUSE_FACTOR = 4;
/** Wrong bytes are no accident of the line. */
const FIRST_PAUSE_AFTER_WRONG_BYTES_MS = 600_000;
const MAX_PAUSE_MS = 3_600_000;
/** Of `fetched`. */
const MAX_FAULTS = 16;

export interface MirrorsOptions {
  fetch: typeof fetch;
  now?: () => number;
}

/** What is known of one mirror, for as long as the tab is open. */
interface Standing {
  faultsInARow: number;
  pausedUntilMs: number;
}

/** The mirrors that the coordinator names, in its order. One that fails is left alone for a while. */
export class Mirrors implements ShardSource {
  readonly origin = 'mirror';
  readonly #fetch: typeof fetch;
  readonly #now: () => number;
  readonly #standings = new Map<string, Standing>();
  #templates: readonly string[] = [];
  #faults: { mirror: number; fault: MirrorFault }[] = [];

  constructor({ fetch, now = () => performance.now() }: MirrorsOptions) {
    this.#fetch = fetch;
    this.#now = now;
  }

  /** The mirrors from now on. What is known of those that stay is kept. */
  use(templates: readonly string[]): void {
    this.#templates = templates;
    for (const known of this.#standings.keys()) if (!templates.includes(known)) this.#standings.delete(known);
  }

  fetch(request: ShardRequest): Promise<Uint8Array> | undefined {
    const [first, ...others] = this.#open();
    return first === undefined ? undefined : this.#fetchFrom(first, others, request);
  }

  /** Whether there is a mirror to ask now. */
  get isOpen(): boolean {
    return this.#open().length > 0;
  }

  /** The faults since the last call. */
  takeFaults(): { mirror: number; fault: MirrorFault }[] {
    return this.#faults.splice(0);
  }

  #open(): string[] {
    const nowMs = this.#now();
    return this.#templates.filter((template) => (this.#standings.get(template)?.pausedUntilMs ?? 0) <= nowMs);
  }

  async #fetchFrom(template: string, others: readonly string[], request: ShardRequest): Promise<Uint8Array> {
    const startedMs = this.#now();
    let receivedBytes = 0;
    const onBytes = (bytes: number): void => {
      receivedBytes += bytes;
      request.onBytes(bytes);
    };
    try {
      const bytes = await fetchShard(
        { ...request, onBytes },
        {
          fetch: this.#fetch,
          url: shardUrl(template, request.sha256),
          server: 'the mirror',
          stallMs: STALL_MS,
          inAllMs: MIN_IN_ALL_MS + request.bytes / MIN_BYTES_PER_MS,
        },
      );
      this.#standings.delete(template);
      return bytes;
    } catch (error) {
      if (receivedBytes > 0) request.onBytes(-receivedBytes);
      if (request.signal.aborted) throw error;
      this.#failed(template, faultOf(error), startedMs);
      const [next, ...rest] = others;
      if (next === undefined) throw error;
      return this.#fetchFrom(next, rest, request);
    }
  }

  /** Downloads that began before the mirror was left alone say nothing new. */
  #failed(template: string, fault: MirrorFault, startedMs: number): void {
    const nowMs = this.#now();
    const before = this.#standings.get(template);
    const isNews = before === undefined || before.pausedUntilMs <= startedMs;
    const faultsInARow = (before?.faultsInARow ?? 0) + Number(isNews);
    const firstMs = fault === 'wrong-bytes' ? FIRST_PAUSE_AFTER_WRONG_BYTES_MS : FIRST_PAUSE_MS;
    const pauseMs = Math.min(MAX_PAUSE_MS, firstMs * PAUSE_FACTOR ** (faultsInARow - 1));
    const pausedUntilMs = Math.max(before?.pausedUntilMs ?? 0, nowMs + pauseMs);
    this.#standings.set(template, { faultsInARow, pausedUntilMs });
    const mirror = this.#templates.indexOf(template);
    if (mirror >= 0 && this.#faults.length < MAX_FAULTS) this.#faults.push({ mirror, fault });
  }
}

const FAULTS: Readonly<Record<ShardErrorReason, MirrorFault>> = {
  network: 'network',
  http: 'http',
  stalled: 'timeout',
  slow: 'slow',
  size: 'wrong-bytes',
  hash: 'wrong-bytes',
  cancelled: 'network',
};

/** What `fetch` throws itself, for a mirror that is out of reach or lacks the header for other origins, is `network`. */
function faultOf(error: unknown): MirrorFault {
  return error instanceof ShardError ? FAULTS[error.reason] : 'network';
}
