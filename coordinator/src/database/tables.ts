import type { ColumnType, Generated, JSONColumnType } from 'kysely';

/*
 * What the tables hold, as queries see it. The SQL is in `migrations/`. Whole numbers are `bigint` in SQL and `number` here: none
 * is beyond 2^53. Secrets are only ever their SHA-256 (64 hex digits).
 */

/** `timestamptz`, with `now()` where none is given. */
type MadeAt = ColumnType<Date, Date | undefined, Date>;
/** A day in UTC, as `YYYY-MM-DD`. */
type Day = string;
/** `jsonb`. Written as text, so that arrays are not taken for arrays of SQL. */
type Json<T extends object | null> = JSONColumnType<T>;

/** Sums of the table `history`, by which all its means are made, and its buckets of times to the first token. */
export type HistorySum =
  | 'span_ms'
  | 'tokens'
  | 'stream_ms'
  | 'queued_ms'
  | 'tab_ms'
  | 'expert_ms'
  | 'covered_ms'
  | 'laps'
  | 'bytes'
  | 'work'
  | 'fallback'
  | 'errors'
  | 'refused';
export type HistoryBucket = `first_${number}`;

export interface Tables {
  /** API keys, invitations and admins. */
  access_entries: {
    kind: 'keys' | 'invites' | 'admins';
    name: string;
    token_hash: string;
    /** Its limits by the names that the access file has for them, or an admin's role. */
    settings: Json<object>;
    note: string;
    created_at: MadeAt;
    created_by: string;
    /** It stays for its name. */
    revoked_at: Date | null;
  };
  settings: { name: string; value: Json<object | null>; changed_at: MadeAt };
  usage: {
    /** Name of the API key; '' where none is required. */
    key: string;
    day: Day;
    model: string;
    requests: Generated<number>;
    refusals: Generated<number>;
    prompt_tokens: Generated<number>;
    completion_tokens: Generated<number>;
  };
  donors: {
    /** Hash of the donor's key, or of its token if it has none (DonorIdentity). */
    donor: string;
    first_seen: MadeAt;
    last_seen: MadeAt;
    /** The donor to whose account this browser was added. What follows is in that donor's row then. */
    shared_with: string | null;
    team: number | null;
    name: string | null;
    /** The name as names are compared (nameKey). */
    name_key: string | null;
    /** Whether its name may be shown to everybody. */
    listed: Generated<boolean>;
    /** By which anybody who has it gets a picture of what the donor did. */
    picture_id: string | null;
    /** Of the token with which requests use its credit. */
    credit_token_hash: string | null;
    /** Credit that its requests have used, in tokens helped with. */
    spent: Generated<number>;
  };
  donor_days: {
    donor: string;
    day: Day;
    /** Tokens that its tabs helped with. */
    tokens_helped: Generated<number>;
    /** Rows compared with the coordinator's own and right. */
    verified_rows: Generated<number>;
    /** Rows that it computed and that were used. */
    rows: Generated<number>;
    /** Time during which any of its tabs held experts and could be given work. */
    served_seconds: Generated<number>;
    /** Time that its tabs computed, as they say, and no longer than their laps took. */
    busy_seconds: Generated<number>;
  };
  teams: { id: Generated<number>; name: string; created_at: MadeAt; name_key: string | null; founder: string | null };
  /** Codes by which another browser is added to a donor's account; the newest of each donor. */
  link_codes: { donor: string; code_hash: string; ends_at: Date };
  /** Wrong results that were confirmed. */
  findings: {
    id: Generated<number>;
    at: MadeAt;
    donor: string;
    what: string;
    used_rows: number;
    unchecked_rows: number;
    /** End of the quarantine; null if there is none. */
    until: Date | null;
  };
  quarantine: {
    /** `donor HASH` or `address ADDRESS` (KeptEntry). */
    key: string;
    failures: number;
    at: Date;
    until: Date | null;
  };
  events: {
    id: Generated<number>;
    at: Date;
    /** Who wrote it, and its number there. */
    member: string;
    seq: number;
    level: string;
    kind: string;
    text: string;
    peer_id: string | null;
  };
  /** The last batch of each writer that was written (WriteQueue). */
  written_batches: { writer: string; seq: number; at: MadeAt };
  members: {
    member: string;
    cluster: string;
    name: string;
    started_at: MadeAt;
    seen_at: MadeAt;
    view: Json<object>;
  };
  leases: {
    cluster: string;
    name: string;
    holder: string;
    term: number;
    expires_at: Date;
  };
  quotas: {
    name: string;
    level: number;
    at: MadeAt;
  };
  cluster_tabs: {
    cluster: string;
    member: string;
    peer_id: string;
    version: number;
    /** JSON's null: the tab has left. The row without a peer's id is about the member itself. */
    view: Json<object | null>;
  };
  placements: {
    cluster: string;
    epoch: number;
    term: number;
    at: MadeAt;
  };
  tab_orders: {
    cluster: string;
    home: string;
    peer_id: string;
    number: number;
    regime: number;
    /** Experts as ranges. */
    assigned: string;
    target: string;
  };
  history: {
    /** Key of the cluster. */
    cluster: string;
    /** What the row is about, in seconds: a minute, an hour, a day in UTC. */
    step_s: number;
    at: Date;
    member: string;
  } & { [Name in HistorySum | HistoryBucket]: Generated<number> };
  /** Conditions that were told to the webhook and still hold. */
  alerts: {
    cluster: string;
    key: string;
    /** Of the occurrence. */
    id: string;
    item: Json<object>;
    told_at: MadeAt;
  };
  bus_messages: {
    id: Generated<number>;
    recipient: string;
    body: Json<object>;
    at: MadeAt;
  };
}
