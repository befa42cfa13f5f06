import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { HelloReply } from '@shoal/protocol';
import { createRng } from '@shoal/model';
import { io } from 'socket.io-client';
import { hello } from '../../integration/virtual-donor.ts';
import { ChurningTabs } from './churning-tabs.ts';
import { type ClientCounts, healthyTexts, runClient, runGreedy } from './clients.ts';
import { ClusterStage, REQUESTS_PER_MINUTE } from './cluster-stage.ts';
import { steadyUnixMs } from '../../../coordinator/src/base/clock.ts';
import type { FromMember, MemberProcess, MemberState } from './member-process.ts';

export const CLUSTER_HAPPENINGS = ['kill-leader', 'kill-other', 'partition', 'cut-database', 'crash-database'] as const;
export type ClusterHappening = (typeof CLUSTER_HAPPENINGS)[number];

export interface ClusterChaosOptions {
  seed: number;
  members: number;
  streams: number;
  /** Honest tabs that come and go. */
  tabs: number;
  durationMs: number;
  everyMs: number;
  /** How long the database is away at most. */
  cutMs: number;
  kinds: readonly ClusterHappening[];
  say: (line: string) => void;
}

export interface ClusterChaosReport extends ClientCounts {
  happenings: Partial<Record<ClusterHappening, number>>;
  /** From kill -9 of a leader until another led. */
  takeoverMs: number[];
  /** Writes of a term that was over and were refused, and pairs of writes of which the later one had an older term. */
  staleRefused: number;
  staleWritten: number;
  /** Terms that two members believed to have. */
  sharedTerms: number;
  /** Times that one began to lead while another still believed to. */
  ledTogether: number;
  /** Requests that a key's limit allowed, and what it may have been at most. */
  allowed: number;
  allowedAtMost: number;
  /** Coordinators that let a quarantined donor in after all had been restarted. */
  letIn: number;
  /** Tabs that ended, liars that came, and those of them that some coordinator still had at the end. */
  tabsEnded: { crashed: number; left: number };
  liars: number;
  liarsThere: number;
  /** Tabs at the end that were counted at two homes, or at none. */
  countedTwice: number;
  homeless: number;
  /** Share of expert work that tabs did for the answers of coordinators that were there at the end. */
  tabShare: number;
}

/**
 * What a happening may give of a limit: a new member begins with a slice, one that is cut off with its share, and a crash of the
 * database fills the bucket.
 */
const GIFTS: Readonly<Record<ClusterHappening, number>> = {
  'kill-leader': 0.1,
  'kill-other': 0.1,
  partition: 0.35,
  'cut-database': 0.35,
  'crash-database': 1,
};
/** By which the clocks of two processes may differ. */
const CLOCK_MS = 5;
const TAKEOVER_MS = 5_000;
const SETTLE_MS = 60_000;
/** Of the key with a limit, which ask for more than it allows. */
const GREEDY_CLIENTS = 4;
const LIAR = 'l'.repeat(32);
/** The coordinator's name for its donor (PeerSession.donorId). */
const LIAR_ID = createHash('sha256').update(LIAR).digest('hex').slice(0, 16);

/** Several coordinators over one database, with faults: see `breaches`. */
export async function runClusterChaos(options: ClusterChaosOptions): Promise<ClusterChaosReport> {
  return new ClusterChaos(options).run();
}

/** What did not hold, in words. */
export function breaches(report: ClusterChaosReport): string[] {
  const slow = report.takeoverMs.filter((ms) => ms >= TAKEOVER_MS);
  const found: [boolean, string][] = [
    [report.failed.length > 0, `${report.failed.length} requests failed: ${report.failed[0]}`],
    [report.different.length > 0, `${report.different.length} answers differ: ${report.different[0]}`],
    [slow.length > 0, `another led only after ${slow.join(', ')} ms`],
    [report.staleWritten > 0, `${report.staleWritten} writes of an old term came after those of a newer one`],
    [report.sharedTerms > 0, `${report.sharedTerms} terms were held by two coordinators`],
    [report.ledTogether > 0, `${report.ledTogether} times two led at once`],
    [report.allowed > report.allowedAtMost, `${report.allowed} requests were allowed, ${report.allowedAtMost} at most`],
    [report.letIn > 0, `${report.letIn} coordinators let a quarantined donor in after a restart`],
    [report.answers === 0, 'there were no answers'],
    [report.countedTwice > 0, `${report.countedTwice} tabs are counted twice`],
    [report.homeless > 0, `${report.homeless} tabs have found no home again`],
    [report.liarsThere > 0, `${report.liarsThere} of ${report.liars} liars are still there`],
    [report.tabShare === 0, 'tabs have done none of the work'],
  ];
  return found.flatMap(([isBroken, text]) => (isBroken ? [text] : []));
}

class ClusterChaos {
  readonly #options: ClusterChaosOptions;
  readonly #rng: () => number;
  readonly #report: ClusterChaosReport;
  /** Who had which term. */
  readonly #terms = new Map<number, Set<string>>();
  #gainedMs = 0;
  /** Times in which members believed to lead. */
  readonly #reigns: { id: string; fromMs: number; toMs: number }[] = [];
  #stage!: ClusterStage;
  #tabs!: ChurningTabs;
  #isOver = false;

  constructor(options: ClusterChaosOptions) {
    this.#options = options;
    this.#rng = createRng(options.seed);
    this.#report = {
      answers: 0,
      retries: {},
      different: [],
      failed: [],
      happenings: {},
      takeoverMs: [],
      staleRefused: 0,
      staleWritten: 0,
      sharedTerms: 0,
      ledTogether: 0,
      allowed: 0,
      allowedAtMost: 0,
      letIn: 0,
      tabsEnded: { crashed: 0, left: 0 },
      liars: 0,
      liarsThere: 0,
      countedTwice: 0,
      homeless: 0,
      tabShare: Number.NaN,
    };
  }

  async run(): Promise<ClusterChaosReport> {
    const { members, streams, durationMs, say } = this.#options;
    this.#stage = await ClusterStage.open(members, (member, message) => this.#hear(member, message));
    try {
      await this.#settled();
      const { url } = this.#stage;
      say('tabs join');
      this.#tabs = await ChurningTabs.open(url, this.#options.tabs, this.#rng);
      await this.#tabsJoined();
      say('healthy run');
      const healthy = await healthyTexts(url);
      say('chaos');
      const startMs = performance.now();
      const isOver = (): boolean => this.#isOver;
      const clients = Array.from({ length: streams }, () => runClient(url, healthy, this.#report, isOver));
      const greedy = Promise.all(Array.from({ length: GREEDY_CLIENTS }, () => runGreedy(url, isOver)));
      let isChurning = true;
      const churn = this.#tabs.churn(() => !isChurning);
      await this.#unleash(startMs + durationMs);
      await this.#settled();
      isChurning = false;
      await churn;
      // The last one has to have work before it can be found out.
      await this.#liarsOut();
      this.#isOver = true;
      await Promise.all(clients);
      await this.#checkTabs();
      this.#report.allowed = (await greedy).reduce((sum, n) => sum + n, 0);
      this.#report.allowedAtMost = this.#allowedAtMost(performance.now() - startMs);
      await this.#checkWrites();
      await this.#checkQuarantine();
      this.#report.ledTogether = this.#reigns.filter(({ id, fromMs }, i) =>
        this.#reigns
          .slice(0, i)
          .some((other) => other.id !== id && other.fromMs <= fromMs && other.toMs > fromMs + CLOCK_MS),
      ).length;
      this.#report.sharedTerms = [...this.#terms.values()].filter((holders) => holders.size > 1).length;
    } finally {
      await this.#tabs?.close();
      await this.#stage.close();
    }
    return this.#report;
  }

  #hear(member: MemberProcess, message: FromMember): void {
    if (message.type === 'gained') {
      this.#gainedMs = performance.now();
      const holders = this.#terms.get(message.term) ?? new Set();
      this.#terms.set(message.term, holders.add(member.id));
      this.#options.say(`${member.id} leads in term ${message.term}`);
    }
    // By the clock of the machine, which all have: messages of several processes come in any order.
    if (message.type === 'gained')
      this.#reigns.push({ id: member.id, fromMs: message.atMs, toMs: Number.POSITIVE_INFINITY });
    if (message.type === 'lost') this.#endReign(member.id, message.atMs);
    if (message.type === 'wrote' && message.isStale) this.#report.staleRefused++;
  }

  async #unleash(untilMs: number): Promise<void> {
    const { everyMs, kinds, say } = this.#options;
    for (let n = 0; performance.now() < untilMs; n++) {
      // Each kind in its turn, so that a short run has them all.
      const kind = kinds[n % kinds.length]!;
      say(kind);
      this.#report.happenings[kind] = (this.#report.happenings[kind] ?? 0) + 1;
      await this.#happen(kind);
      await this.#settled();
      await delay(everyMs * (0.5 + this.#rng()));
    }
  }

  async #happen(kind: ClusterHappening): Promise<void> {
    const { cutMs } = this.#options;
    const leader = await this.#leader();
    const others = this.#stage.members.flatMap((_, i) => (i === leader ? [] : [i]));
    const other = others[Math.floor(this.#rng() * others.length)]!;
    const how = this.#rng() < 0.5 ? 'refusing' : 'silent';
    const awayMs = cutMs * (0.5 + this.#rng() / 2);
    switch (kind) {
      case 'kill-leader':
        await this.#killLeader(leader);
        return this.#stage.start(leader);
      case 'kill-other':
        await this.#stage.kill(other);
        await delay(1_000 * this.#rng());
        return this.#stage.start(other);
      case 'partition': {
        const line = this.#stage.line(this.#rng() < 0.5 ? leader : other);
        line.cut(how);
        await delay(awayMs);
        return line.heal();
      }
      case 'cut-database':
        for (const line of this.#stage.lines) line.cut(how);
        await delay(awayMs);
        for (const line of this.#stage.lines) line.heal();
        return;
      case 'crash-database':
        await this.#stage.postgres.stop('SIGQUIT');
        await delay(1_000);
        return this.#stage.postgres.run();
      default:
        kind satisfies never;
    }
  }

  async #killLeader(leader: number): Promise<void> {
    const killedMs = performance.now();
    const { id } = this.#stage.members[leader]!;
    this.#endReign(id, steadyUnixMs());
    await this.#stage.kill(leader);
    const deadlineMs = killedMs + 2 * TAKEOVER_MS;
    while (this.#gainedMs < killedMs && performance.now() < deadlineMs) await delay(20);
    this.#report.takeoverMs.push(
      this.#gainedMs < killedMs ? Number.POSITIVE_INFINITY : Math.round(this.#gainedMs - killedMs),
    );
  }

  #endReign(id: string, atMs: number): void {
    const reign = this.#reigns.findLast((other) => other.id === id);
    if (reign) reign.toMs = Math.min(reign.toMs, atMs);
  }

  async #leader(): Promise<number> {
    const states = await this.#stage.states();
    return Math.max(
      0,
      states.findIndex((state) => state?.term !== undefined),
    );
  }

  /** Waits until all are there, know each other, and one leads. */
  async #settled(): Promise<void> {
    const { members } = this.#options;
    const isSettled = (states: readonly (MemberState | undefined)[]): boolean =>
      states.every((state) => state !== undefined && state.members === members && !state.isCut) &&
      states.filter((state) => state?.term !== undefined).length === 1;
    const untilMs = performance.now() + SETTLE_MS;
    let states = await this.#stage.states();
    while (!isSettled(states)) {
      if (performance.now() > untilMs) throw new Error(`The coordinators do not settle: ${JSON.stringify(states)}`);
      await delay(100);
      states = await this.#stage.states();
    }
  }

  /** Waits until each tab has a home, or for as long as it may take. Returns the states then. */
  async #tabsJoined(): Promise<MemberState[]> {
    const untilMs = performance.now() + SETTLE_MS;
    for (;;) {
      const states = (await this.#stage.states()).filter((state) => state !== undefined);
      const donors = states.flatMap((state) => state.donors);
      const isThere = this.#tabs.donors.every((donor) => donors.filter((other) => other === donor).length === 1);
      const isServed = this.#options.tabs === 0 || states.every(({ serving }) => serving > 0);
      if ((isThere && isServed) || performance.now() > untilMs) return states;
      await delay(200);
    }
  }

  async #liarsOut(): Promise<void> {
    const untilMs = performance.now() + SETTLE_MS;
    const liars = new Set(this.#tabs.liars.map(({ donorId }) => donorId));
    const isThere = (state: MemberState | undefined): boolean => state!.donors.some((donor) => liars.has(donor));
    while ((await this.#stage.states()).some(isThere) && performance.now() < untilMs) await delay(500);
  }

  async #checkTabs(): Promise<void> {
    const states = await this.#tabsJoined();
    const donors = states.flatMap((state) => state.donors);
    const homes = (donor: string): number => donors.filter((other) => other === donor).length;
    const { donors: honest, liars, ended } = this.#tabs;
    const sum = (of: (state: MemberState) => number): number => states.reduce((total, state) => total + of(state), 0);
    const tabWork = sum((state) => state.tabWork);
    Object.assign(this.#report, {
      tabsEnded: ended,
      liars: liars.length,
      liarsThere: liars.filter(({ donorId }) => homes(donorId) > 0).length,
      countedTwice: honest.filter((donor) => homes(donor) > 1).length,
      homeless: honest.filter((donor) => homes(donor) === 0).length,
      tabShare: this.#options.tabs === 0 ? Number.NaN : tabWork / (tabWork + sum((state) => state.localWork)),
    });
  }

  /** A bucket gives its capacity and what it gains; several may give half of it in addition. */
  #allowedAtMost(elapsedMs: number): number {
    const { happenings } = this.#report;
    const gifts = CLUSTER_HAPPENINGS.map((kind) => (happenings[kind] ?? 0) * GIFTS[kind]);
    return Math.ceil(REQUESTS_PER_MINUTE * (1 + elapsedMs / 60_000 + 0.5 + gifts.reduce((sum, gift) => sum + gift, 0)));
  }

  async #checkWrites(): Promise<void> {
    const text = 'select term::int as term from chaos_writes order by seq';
    const terms = (await this.#stage.query<{ term: number }>(text)).map(({ term }) => term);
    for (let i = 1; i < terms.length; i++) if (terms[i]! < terms[i - 1]!) this.#report.staleWritten++;
    if (terms.length === 0) this.#report.failed.push('no leader has written anything');
  }

  /** Whether all members know of it, and the database does. A kill -9 before that may lose what was only on its way. */
  async #isQuarantined(donorId: string): Promise<boolean> {
    const key = `donor ${donorId}`;
    const kept = await this.#stage.query(`select 1 from quarantine where key = '${key}' and until is not null`);
    return kept.length > 0 && (await this.#stage.states()).every((state) => state?.quarantined.includes(key));
  }

  /** A donor that one coordinator has caught is let in by none, also after all have been restarted. */
  async #checkQuarantine(): Promise<void> {
    const { say } = this.#options;
    this.#stage.members[0]!.tell({ type: 'exclude', donorId: LIAR_ID });
    const untilMs = performance.now() + SETTLE_MS;
    while (!(await this.#isQuarantined(LIAR_ID)) && performance.now() < untilMs) await delay(50);
    say('restart of all');
    const all = this.#stage.members.map((_, i) => i);
    await Promise.all(all.map((i) => this.#stage.kill(i)));
    await Promise.all(all.map((i) => this.#stage.start(i)));
    await this.#settled();
    for (const member of this.#stage.members) {
      const socket = io(`${member!.url}/donor`, { reconnection: false, forceNew: true, transports: ['websocket'] });
      const reply = (await socket.timeout(10_000).emitWithAck('hello', hello(LIAR, 2 ** 26))) as HelloReply;
      socket.close();
      if (reply.ok || reply.code !== 'banned') this.#report.letIn++;
    }
  }
}
