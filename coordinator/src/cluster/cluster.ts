import type { EventEmitter } from 'node:events';
import type { BusKind, BusMessages } from './bus-messages.ts';

/** A running coordinator, as all of its cluster know it. */
export interface MemberView {
  /** `c-` and 8 hex digits, new at each start. */
  id: string;
  /** For people: host name and port. */
  name: string;
  /** Where its HTTP server is reached by other machines, as far as it knows. */
  address: string;
  version: string;
  /** Start, in epoch milliseconds of the database's clock. */
  sinceMs: number;
}

/** Who is running. A member is dead 3.5 s after its last heartbeat, by the database's clock. */
export interface Members {
  readonly self: MemberView;
  /** All that are alive, self included, ordered by id. While cut from the database: those that were alive before. */
  alive(): readonly MemberView[];
  /** Whether this member cannot reach the database: it goes on with what it last knew. */
  readonly isCut: boolean;
  /**
   * `joined`, `left`: another member. One that was declared dead while it was merely cut joins again, by the same id.
   * `changed`: after any of these. `cut` and `mended`: the database cannot be reached, and can be again.
   * `returned`: the others have declared this member dead meanwhile and forgotten what it told them, so that all has to be told
   * again; it comes after `mended`.
   */
  readonly events: EventEmitter<MembersEvents>;
}

export interface MembersEvents {
  joined: [member: MemberView];
  left: [member: MemberView];
  changed: [];
  cut: [];
  mended: [];
  returned: [];
}

/** Who leads: one member at most at any time, by the database's clock. */
export interface Lease {
  /** Defined while this member leads. The term grows by one with each change of hands. */
  readonly held: { readonly term: number } | undefined;
  /** Member id of the leader as far as it is known, this one included; undefined between two. */
  readonly leader: string | undefined;
  /** `gained` and `lost`: by this member. `leader`: `leader` has changed. */
  readonly events: EventEmitter<LeaseEvents>;
}

export interface LeaseEvents {
  gained: [term: number];
  lost: [];
  leader: [member: string | undefined];
}

/** Messages between members: not kept, so that one that is away when a message is sent never gets it. */
export interface Bus {
  /** Member id. */
  readonly self: string;
  /**
   * To one member, or to all others. Never waits or throws. The order between two members is kept. What cannot be sent soon is
   * dropped and counted: while the database is away, or beyond the bound of what waits.
   */
  send<K extends BusKind>(to: string, kind: K, message: BusMessages[K]): void;
  /** Handles messages of others, which are parsed by the kind's schema. Returns the call that stops. */
  on<K extends BusKind>(kind: K, handle: (from: string, message: BusMessages[K]) => void): () => void;
  /** `missed`: messages to this member may have been lost, so whatever follows others by messages reads again. */
  readonly events: EventEmitter<BusEvents>;
}

export interface BusEvents {
  missed: [];
}

/** `to` of a message to all others. */
export const ALL = 'all';

/** The coordinators that share a database and a model, as one of them sees them. One alone is a cluster of one. */
export interface Cluster {
  /** Names the model and its quantisation: members of other models in the same database are another cluster. */
  readonly key: string;
  readonly members: Members;
  readonly bus: Bus;
  /** Who plans the placement. */
  readonly lease: Lease;
  /** Leaves, so that the others know at once, and stops. */
  close(): Promise<void>;
}
