import { type SwigluWeights, uniformWorkItem, type WorkItem } from '@shoal/model';
import {
  type Assign,
  decodeDispatch,
  type Dismissed,
  encodeCombine,
  encodeRefuse,
  type Guest,
  type Hello,
  type LapRefusal,
  peekFrame,
  PROTOCOL_VERSION,
  type Standing,
} from '@shoal/protocol';
import { type Link, memoryLinkPair } from '@shoal/transport';
import { ReferenceWork } from '../../laps/testing/reference-work.ts';
import type { PeerSession } from '../peer-session.ts';
import type { MemoryGuests } from './memory-guests.ts';
import type { SwarmOptions } from '../swarm-options.ts';
import type { Swarm } from '../swarm.ts';

export const HIDDEN = 8;
export const SHARD_BYTES = 2 ** 20;
export const LAYERS = [1, 2];
export const EXPERTS = 4;

/** Of a model with experts so small that their work takes no time. */
export function localWork(): ReferenceWork {
  return new ReferenceWork({
    hiddenSize: HIDDEN,
    maxBytes: 2 ** 24,
    read: async (layer, expert) => weightsOf(layer * 100 + expert),
  });
}

function weightsOf(seed: number): SwigluWeights {
  const matrix = (salt: number): Float32Array =>
    Float32Array.from({ length: 2 * HIDDEN }, (_, i) => Math.sin(seed * 7.3 + salt + i * 1.7));
  return { gate: matrix(1), up: matrix(2), down: matrix(3) };
}

/** A swarm of a small model, each expert on one tab. */
export function smallSwarm(): Omit<SwarmOptions, 'events'> {
  return {
    model: { layers: LAYERS, expertsPerLayer: EXPERTS, groupsPerLayer: 2, shardBytes: SHARD_BYTES, hiddenSize: HIDDEN },
    shardHash: (layer, expert) => `${layer}${expert}`.padEnd(64, '0'),
    local: localWork(),
    replicas: 1,
  };
}

/** One row of the small model's first layer. */
export function someLap(): WorkItem {
  return uniformWorkItem({
    layer: LAYERS[0]!,
    rows: new Uint16Array(HIDDEN),
    numRows: 1,
    experts: Uint16Array.of(0),
    weights: Float32Array.of(1),
  });
}

/** Whether the tab serves all that the plan gives it, and something. */
export const serves = ({ session }: FakeTab): boolean => session.settled && session.live.size > 0;

/** A tab that loads at once and answers laps according to `mode`. */
export class FakeTab {
  session!: PeerSession;
  readonly assigned: Assign[] = [];
  readonly standings: Standing[] = [];
  dismissed: Dismissed | undefined;
  mode: 'honest' | 'silent' | LapRefusal = 'honest';
  /** Whether it says ready by itself. */
  loads = true;
  laps = 0;
  cancels = 0;
  /** What it was told of guests. */
  readonly guests: Guest[] = [];
  /** Its links to them. */
  readonly guestLinks = new Map<string, Link>();
  /** Answers wait for it. */
  mayAnswer: Promise<void> = Promise.resolve();
  readonly #local = localWork();

  static join(
    swarm: Swarm,
    options: Partial<Pick<FakeTab, 'mode' | 'loads'>> & {
      donorToken?: string;
      tab?: number;
      experts?: number;
      /** By which it serves other coordinators as well. */
      guests?: MemoryGuests;
    } = {},
  ): FakeTab {
    const tab = new FakeTab();
    const { donorToken = crypto.randomUUID(), tab: number = 0, experts = 100, guests, ...rest } = options;
    Object.assign(tab, rest);
    const hello = { ...helloOf(donorToken, experts), tab: number, ...(guests && { maxCoordinators: 8 }) };
    const session = swarm.join(hello, '127.0.0.1', {
      guest: (guest) => {
        tab.guests.push(guest);
        if (guests && guest.open) swarm.guests!.relay.fromTab(tab.session, guests.offer(guest));
      },
      signal: (signal) => {
        const link = guests?.linkOf(tab.session.peerId, signal);
        if (link) tab.#serve(link, signal.guest!.coordinator);
      },
      assign: (message) => {
        tab.assigned.push(message);
        if (tab.loads) queueMicrotask(() => tab.ready(swarm));
      },
      standing: (message) => void tab.standings.push(message),
      dismiss: (message) => (tab.dismissed = message),
    });
    tab.session = session;
    return tab;
  }

  /** Opens the lap channel. */
  connect(swarm: Swarm): this {
    const { a, b } = memoryLinkPair();
    this.#serve(b);
    swarm.attach(this.session, a);
    return this;
  }

  #serve(link: Link, guest?: string): void {
    if (guest !== undefined) this.guestLinks.set(guest, link);
    link.onFrame = (frame) => void this.#answer(frame, (reply) => void link.send(reply).catch(() => {}));
    link.onClose = () => guest !== undefined && this.guestLinks.delete(guest);
  }

  ready(swarm: Swarm): void {
    const epoch = this.assigned.at(-1)!.epoch;
    void swarm.ready(this.session, { epoch, allocatedBytes: 0 });
  }

  async #answer(bytes: Uint8Array, send: (reply: Uint8Array) => void): Promise<void> {
    if (peekFrame(bytes).type === 'cancel') {
      this.cancels++;
      return;
    }
    this.laps++;
    const lap = decodeDispatch(bytes, { hiddenSize: HIDDEN });
    const { lapId, numRows } = lap;
    await this.mayAnswer;
    if (this.mode === 'silent') return;
    if (this.mode !== 'honest') return send(encodeRefuse({ lapId, reason: this.mode }));
    const partial = await this.#local.compute(lap);
    send(encodeCombine({ lapId, numRows, hiddenSize: HIDDEN, queueUs: 0, computeUs: 0, partial }));
  }
}

/** A hello that lends memory for `experts` experts. */
export function helloOf(donorToken: string, experts: number): Hello {
  return {
    protocolVersions: [PROTOCOL_VERSION],
    donorToken,
    pledgeBytes: Math.ceil((experts * SHARD_BYTES) / 0.85),
    adapter: {
      vendor: 'fake',
      architecture: '',
      description: '',
      isFallbackAdapter: true,
      maxBufferBytes: 2 ** 30,
      maxStorageBindingBytes: 2 ** 30,
    },
  };
}
