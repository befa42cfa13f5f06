import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import { connect } from 'node:tls';
import { sql } from 'kysely';
import type { Database } from '../database/index.ts';
import type { CertificateFacts, MachineFacts } from './facts.ts';

/** Disks fill up over minutes at the fastest, clocks drift over hours, and a certificate has days. */
const PERIOD_MS = 60_000;
const CERTIFICATE_PERIOD_MS = 3_600_000;
const TIMEOUT_MS = 10_000;

export interface ProbeOptions {
  /** Directories that are written to, and what each keeps. */
  disks: readonly { what: string; dir: string }[];
  /** The address that people open. */
  publicUrl: URL | undefined;
  /** Compared with this machine's clock where it is another machine's. */
  database: Database | undefined;
  /** This machine's clock less those of the tabs, in milliseconds. */
  tabOffsetsMs: () => readonly number[];
}

type Found = Pick<MachineFacts, 'disks' | 'certificate' | 'clock'>;

/** Asks the system and the network for what the rules want to know, in the background, each with a deadline. */
export class Probes {
  readonly #options: ProbeOptions;
  readonly #timer: NodeJS.Timeout;
  #disks: Found['disks'] = [];
  #certificate: CertificateFacts | undefined;
  #certificateAtMs = Number.NEGATIVE_INFINITY;
  #failedBefore = false;
  #databaseMs: number | null = null;
  #isRunning = false;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.run(), PERIOD_MS).unref();
    void this.run();
  }

  get found(): Found {
    const clock = { databaseMs: this.#databaseMs, tabsMs: agreedOffset(this.#options.tabOffsetsMs()) };
    return { disks: this.#disks, certificate: this.#certificate, clock };
  }

  /** Looks at everything that is due. Never rejects. */
  async run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    await Promise.all([this.#lookAtDisks(), this.#lookAtDatabase(), this.#lookAtCertificate()]);
    this.#isRunning = false;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #lookAtDisks(): Promise<void> {
    const found = await Promise.all(
      this.#options.disks.map(async ({ what, dir }) => {
        const freeBytes = await freeBytesOf(dir);
        return freeBytes === undefined ? [] : [{ what, dir, freeBytes }];
      }),
    );
    this.#disks = found.flat();
  }

  async #lookAtDatabase(): Promise<void> {
    const { database } = this.#options;
    if (database?.kind !== 'server' || database.isAway) return;
    this.#databaseMs = await clockOffset(database).catch(() => null);
  }

  async #lookAtCertificate(): Promise<void> {
    const { publicUrl } = this.#options;
    // What did not answer is asked again soon.
    const period = this.#failedBefore ? PERIOD_MS : CERTIFICATE_PERIOD_MS;
    if (publicUrl?.protocol !== 'https:' || performance.now() - this.#certificateAtMs < period - 1_000) return;
    this.#certificateAtMs = performance.now();
    const { isAnswered, ...found } = await certificateOf(publicUrl);
    if (isAnswered) this.#certificate = found as CertificateFacts;
    this.#failedBefore = !isAnswered;
  }
}

/** Of the directory, or of the nearest one above it that exists; undefined where the system does not say. */
async function freeBytesOf(dir: string): Promise<number | undefined> {
  let existing = dir;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  try {
    const { bavail, bsize } = await statfs(existing);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

/** This machine's clock less the database's, by half of the round trip. */
async function clockOffset({ db }: Database): Promise<number> {
  const beforeMs = Date.now();
  const { rows } = await sql<{ ms: number }>`
    select extract(epoch from clock_timestamp())::float8 * 1000 as ms`.execute(db);
  return (beforeMs + Date.now()) / 2 - rows[0]!.ms;
}

/** From how many tabs on, of which half are on either side, their clocks say something of this one's. */
const ENOUGH_TABS = 3;

/** The median; null of too few. A tab may say what it likes, but most would have to. */
function agreedOffset(offsetsMs: readonly number[]): number | null {
  if (offsetsMs.length < ENOUGH_TABS) return null;
  return offsetsMs.toSorted((a, b) => a - b)[offsetsMs.length >> 1]!;
}

/**
 * The certificate that a server presents, checked as a browser would. Never rejects. Without an answer nothing is known: a machine
 * often cannot reach its own public address (no hairpin NAT).
 */
export function certificateOf(url: URL): Promise<{ isAnswered: boolean } & Partial<CertificateFacts>> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve) => {
    const servername = isIP(host) === 0 ? { servername: host } : {};
    const socket = connect({ host, port: Number(url.port) || 443, ...servername, rejectUnauthorized: false });
    const settle = (result: { isAnswered: boolean } & Partial<CertificateFacts>): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const timer = setTimeout(() => settle({ isAnswered: false }), TIMEOUT_MS);
    socket.once('error', () => settle({ isAnswered: false }));
    socket.once('secureConnect', () => {
      const { valid_from: from, valid_to: to } = socket.getPeerCertificate();
      const [fromMs, toMs] = [Date.parse(from), Date.parse(to)];
      const leftMs = toMs - Date.now();
      const fault = socket.authorizationError;
      // That it has ended is said better by its date.
      if (fault && leftMs > 0) settle({ isAnswered: true, host, fault: String(fault) });
      else settle({ isAnswered: true, host, leftMs, lifeMs: toMs - fromMs });
    });
  });
}
