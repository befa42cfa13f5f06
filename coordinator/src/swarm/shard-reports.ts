import type { Fetched, MirrorFault } from '@shoal/protocol';
import type { EventLog } from '../base/event-log.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { PeerSession } from './peer-session.ts';

/** A tab can hardly fill what it lends more often. What it says beyond is not counted. */
const PLEDGE_PERIOD_MS = 60_000;
/** About one mirror and fault, one event in this time. */
const EVENT_INTERVAL_MS = 600_000;

const FAULT_TEXTS: Readonly<Record<MirrorFault, string>> = {
  network: 'could not be reached by a tab, or does not allow other origins (CORS)',
  http: 'answered a tab with an error',
  timeout: 'did not answer a tab in time',
  slow: 'was too slow for a tab',
  'wrong-bytes': 'sent a tab wrong bytes, which it refused',
};

export interface ShardReportsOptions {
  events: Pick<EventLog, 'add'>;
  /** Of each mirror, in the order of the reply to `hello`. */
  mirrorNames: readonly string[];
  nowMs?: () => number;
}

/** What tabs say about where they got their shards. It is their word alone: figures for the operator. */
export class ShardReports {
  readonly #options: Required<ShardReportsOptions>;
  readonly #bytes = { coordinator: 0, mirror: 0, tab: 0, given: 0 };
  readonly #believed = new WeakMap<PeerSession, TokenBucket>();
  /** When an event about a mirror and fault was written last. */
  readonly #toldMs = new Map<string, number>();

  constructor(options: ShardReportsOptions) {
    this.#options = { nowMs: () => performance.now(), ...options };
  }

  /** Of all tabs so far. */
  get bytes(): Readonly<Record<'coordinator' | 'mirror' | 'tab' | 'given', number>> {
    return { ...this.#bytes };
  }

  take(peer: PeerSession, { mirrorFaults, ...bytes }: Fetched): void {
    const bucket = this.#bucketOf(peer);
    for (const what of ['coordinator', 'mirror', 'tab', 'given'] as const) {
      const counted = Math.min(bytes[what], Math.max(0, bucket.level));
      bucket.debit(counted);
      this.#bytes[what] += counted;
    }
    for (const { mirror, fault } of mirrorFaults) this.#tell(mirror, fault, peer);
  }

  #bucketOf(peer: PeerSession): TokenBucket {
    const known = this.#believed.get(peer);
    if (known) return known;
    // What it gives counts as well as what it gets.
    const bucket = new TokenBucket(2 * peer.hello.pledgeBytes, PLEDGE_PERIOD_MS, this.#options.nowMs);
    this.#believed.set(peer, bucket);
    return bucket;
  }

  #tell(mirror: number, fault: MirrorFault, { peerId, address }: PeerSession): void {
    const { mirrorNames, events, nowMs } = this.#options;
    const name = mirrorNames[mirror];
    const key = `${mirror} ${fault}`;
    if (name === undefined || nowMs() - (this.#toldMs.get(key) ?? -EVENT_INTERVAL_MS) < EVENT_INTERVAL_MS) return;
    this.#toldMs.set(key, nowMs());
    const text = `The mirror ${name} ${FAULT_TEXTS[fault]}. Tabs leave it alone for a while and ask the coordinator`;
    events.add({ level: 'warning', kind: 'server', text, peerId }, address);
  }
}
