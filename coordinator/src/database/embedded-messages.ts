/** What the thread of the embedded database is started with. */
export interface ThreadData {
  /** File of PGlite's CommonJS module. */
  entry: string;
  /** Undefined: in memory. */
  dir: string | undefined;
  /** An archive of a new database, for one in memory. */
  template?: string | undefined;
}

/** `bytes` are of Postgres's protocol. */
export type ToThread =
  | { kind: 'open' | 'end'; connection: number }
  | { kind: 'bytes'; connection: number; bytes: Uint8Array }
  | { kind: 'stop' };

export type FromThread =
  | { kind: 'ready' | 'stopped' }
  | { kind: 'failed'; why: string }
  | { kind: 'bytes'; connection: number; bytes: Uint8Array }
  | { kind: 'ended'; connection: number };
