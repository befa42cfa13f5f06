import {
  type Contribution,
  type ContributionReply,
  type ContributionRequest,
  contributionRequestSchema,
} from '@shoal/protocol';
import type { Database, WriteQueue } from '../database/index.ts';
import type { Swarm } from '../swarm/swarm.ts';
import { Account, newAccount } from './account.ts';
import { AccountBook, ContributionError } from './account-book.ts';
import { AccountReader } from './account-reader.ts';
import { Credit } from './credit.ts';
import { DonorWork } from './donor-work.ts';

export interface ContributionsOptions {
  swarm: Pick<Swarm, 'visits'>;
  /** Undefined where nothing is kept. */
  records: { database: Database; queue: WriteQueue } | undefined;
  /** Whether credit is worth anything. */
  hasCredit?: () => boolean;
}

const NOTHING_KEPT =
  'This coordinator keeps nothing, so it has no names, teams or links. What your tabs do is counted until it stops.';
const AWAY = 'The coordinator can’t reach its database at the moment. Try again in a minute; nothing is lost.';
const NO_CREDIT = 'The operator of this coordinator gives requests no priority for credit.';

/** What donors did, and what they ask about it. */
export class Contributions {
  readonly work: DonorWork;
  /** Undefined where nothing is kept. */
  readonly credit: Credit | undefined;
  readonly #options: ContributionsOptions;
  readonly #reader: AccountReader | undefined;
  readonly #book: AccountBook | undefined;

  constructor(options: ContributionsOptions) {
    this.#options = options;
    const { records } = options;
    this.work = new DonorWork(options);
    this.#reader = records && new AccountReader(records.database, records.queue);
    this.credit = records && new Credit(records.database, records.queue);
    this.#book = records && new AccountBook(records.database);
  }

  /** Answers a donor that has proven who it is. Never rejects. */
  async ask(donorId: string, request: ContributionRequest): Promise<ContributionReply> {
    try {
      if (request.do === 'look') return { ok: true, contribution: await this.#view(donorId) };
      const book = this.#book;
      if (!book) throw new ContributionError(NOTHING_KEPT);
      if (request.do === 'credit-token' && !this.#hasCredit) throw new ContributionError(NO_CREDIT);
      const made = await this.work.changing(donorId, () => book.change(donorId, request));
      return { ok: true, contribution: await this.#view(donorId), ...made };
    } catch (error) {
      return { ok: false, message: error instanceof ContributionError ? error.message : AWAY };
    }
  }

  /** An operator takes a name away. Says whether somebody had it. */
  async clearName(name: string): Promise<boolean> {
    return (await this.#book?.clearName(name)) ?? false;
  }

  async dissolveTeam(team: number): Promise<boolean> {
    return (await this.#book?.dissolveTeam(team)) ?? false;
  }

  close(): void {
    this.work.close();
  }

  get #hasCredit(): boolean {
    return this.#options.hasCredit?.() ?? false;
  }

  async #view(donorId: string): Promise<Contribution> {
    const known = this.work.view(donorId, true);
    if (known) return known;
    const kept = (await this.#reader?.read(donorId)) ?? newAccount(donorId);
    const terms = { kept: this.#reader !== undefined, proven: true, hasCredit: this.#hasCredit };
    return new Account(kept).view(Date.now(), terms);
  }
}

/** A request as it was signed; undefined if it is none. */
export function parseRequest(text: string): ContributionRequest | undefined {
  try {
    return contributionRequestSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
