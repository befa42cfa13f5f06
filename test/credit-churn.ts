import { createRng } from '@shoal/model';
import { sql } from 'kysely';
import { setTimeout as delay } from 'node:timers/promises';
import { JoinRefused } from '../coordinator/src/access/join-refused.ts';
import type { Coordinator } from '../coordinator/src/index.ts';
import { donorIdOf } from '../coordinator/src/swarm/donor-id.ts';
import { answer } from './integration/answers.ts';
import { GOLDEN } from './integration/golden.ts';
import { startTinyCoordinator } from './integration/tiny-coordinator.ts';
import { until, VirtualDonor } from './integration/virtual-donor.ts';

/** What of a donor's credit is compared: everything that is counted in whole things. */
export interface Credit {
  tokens: number;
  rows: number;
  verifiedRows: number;
}

export interface CreditOf {
  donor: string;
  page: Credit | undefined;
  console: Credit | undefined;
  database: Credit;
}

export interface ChurnOptions {
  dataDir: string;
  donors: number;
  seconds: number;
  /** Restarts of the coordinator, at equal distances. */
  restarts: number;
  seed: number;
  onRound?: (text: string) => void;
}

export interface ChurnResult {
  /** Of all donors at the end, and after each restart. */
  credits: CreditOf[];
  joins: number;
  crashes: number;
  answers: number;
  /** Tokens that tabs helped with, and those that were credited. */
  helped: number;
  credited: number;
}

/** Donors that join, crash, leave and come back, under answers, through restarts of the coordinator. */
export async function churn(options: ChurnOptions): Promise<ChurnResult> {
  const { dataDir, seconds, restarts } = options;
  const random = createRng(options.seed);
  const tokens = Array.from({ length: options.donors }, (_, i) => `churn-donor-${i}`.padEnd(24, 'x'));
  const done: Omit<ChurnResult, 'credited'> = { credits: [], joins: 0, crashes: 0, answers: 0, helped: 0 };
  for (let part = 0; part <= restarts; part++) {
    const core = await startTinyCoordinator({ dataDir, replicas: 2 });
    const here = new Map<string, VirtualDonor>();
    const join = async (donorToken: string): Promise<void> => {
      try {
        here.set(donorToken, await VirtualDonor.join(core, { donorToken }));
        done.joins++;
      } catch (error) {
        // It has crashed too often for now, and comes again later.
        if (!(error instanceof JoinRefused) || error.code !== 'wait') throw error;
      }
    };
    const leave = async (donorToken: string): Promise<void> => {
      const donor = here.get(donorToken)!;
      here.delete(donorToken);
      if (random() < 0.5) {
        donor.kill();
        done.crashes++;
      }
      await donor.close();
      done.helped += donor.session.tokensHelped;
    };
    for (const token of tokens) await join(token);
    const endMs = performance.now() + (1000 * seconds) / (restarts + 1);
    while (performance.now() < endMs) {
      const token = tokens[Math.floor(random() * tokens.length)]!;
      const { prompt_ids: prompt } = GOLDEN[done.answers % GOLDEN.length]!;
      const answered = answer(core, prompt, { maxTokens: 16 });
      if (here.has(token)) await leave(token);
      else if (random() < 0.7) await join(token);
      await answered;
      done.answers++;
      await delay(50);
    }
    for (const token of tokens) if (!here.has(token)) await join(token);
    await until('audits to end', () => core.trust.counts.pending === 0, 120_000);
    await settled(() => [...here.values()].reduce((sum, { session: { trust } }) => sum + trust.auditedRows, 0));
    const credits = await creditsOf(core, here, tokens);
    options.onRound?.(`part ${part + 1}: ${done.answers} answers, ${done.joins} joins, ${done.crashes} crashes`);
    for (const token of here.keys()) await leave(token);
    await core.close();
    done.credits.push(...credits);
    if (part === restarts)
      return { ...done, credited: credits.reduce((sum, { database }) => sum + database.tokens, 0) };
  }
  throw new Error('A number of restarts below 0 was given.');
}

/** Comparisons of rows of probation go on after the last answer: waits until none has ended for three seconds. */
async function settled(comparedRows: () => number): Promise<void> {
  const startMs = performance.now();
  for (let before = Number.NaN; before !== comparedRows();) {
    if (performance.now() - startMs > 300_000)
      throw new Error('Rows were compared for five minutes after the last answer.');
    before = comparedRows();
    await delay(3_000);
  }
}

/** Of all donors, as the page, the console and the database have it, at one moment. */
async function creditsOf(
  core: Coordinator,
  here: ReadonlyMap<string, VirtualDonor>,
  tokens: readonly string[],
): Promise<CreditOf[]> {
  const { contributions, records, snapshots } = core;
  await until('all accounts', () => [...here.values()].every(({ session }) => session.contribution()), 60_000);
  contributions.work.sample();
  await records!.queue.flush();
  const peers = snapshots.build().peers;
  const credits: CreditOf[] = [];
  for (const token of tokens) {
    const donor = donorIdOf(token);
    const session = here.get(token)?.session;
    const { rows } = await sql<Credit>`
      select coalesce(sum(tokens_helped), 0) as tokens, coalesce(sum(rows), 0)::double precision as rows,
        coalesce(sum(verified_rows), 0)::double precision as "verifiedRows"
      from donor_days where donor = ${donor}`.execute(records!.database.db);
    const looked = session ? undefined : await contributions.ask(donor, { do: 'look' });
    const page = session ? session.standing().contribution?.total : looked!.ok ? looked!.contribution.total : undefined;
    // Of a tab that is not here, the console shows nothing.
    const console = session ? peers.find(({ peerId }) => peerId === session.peerId)?.credit : page;
    credits.push({ donor, page: page && only(page), console: console && only(console), database: only(rows[0]!) });
  }
  return credits;
}

const only = ({ tokens, rows, verifiedRows }: Credit): Credit => ({ tokens, rows, verifiedRows });

/** Those whose credit is not the same everywhere. */
export const disagreeing = (credits: readonly CreditOf[]): CreditOf[] =>
  credits.filter(({ page, console, database }) =>
    [page, console].some((one) => JSON.stringify(one) !== JSON.stringify(database)),
  );
