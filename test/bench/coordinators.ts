import { setTimeout as delay } from 'node:timers/promises';
import { freePort, Postgres } from '../postgres.ts';
import { ProcessTab } from '../tabs/process-tab.ts';
import { type MemberFigures, MemberProcess } from './coordinators/member-process.ts';
import { FULL_PACE } from './rig.ts';
import { formatHeldRows, type HeldRow } from './table.ts';

const TABS = 4;
const PLEDGE_BYTES = 128 * 2 ** 20;
const ROUND_TRIP_MS = 20;
/** Of one coordinator's line, each way: so little that no processor of a desk is the limit. */
const LINE_BYTES_PER_SECOND = 32 * 1024;
const STREAMS_PER_COORDINATOR = 8;
const JOIN_TIMEOUT_MS = 180_000;
/** From the first lap until what is measured: links to other coordinators' tabs open meanwhile. */
const WARM_UP_MS = 20_000;
const MEASURED_MS = 30_000;
const AT_LEAST = 2.4;

interface Throughput {
  coordinators: number;
  tokensPerSecond: number;
  /** Of their lines, each way: those of all together. */
  sentShare: number;
  receivedShare: number;
  /** Share of assignments that coordinators computed themselves. */
  localShare: number;
  repeatedPerToken: number;
  ownTabs: number[];
  remoteTabs: number[];
}

/**
 * Measures what several coordinators of one cluster answer with the same tabs, when each is bound by its line. Processes on a real
 * Postgres server; tabs in processes of their own, at 20 ms.
 */
export async function benchCoordinators({ json }: { json: boolean }): Promise<void> {
  const one = await measure(1);
  const three = await measure(3);
  if (json) process.stdout.write(`${JSON.stringify([one, three], null, 2)}\n`);
  else process.stdout.write(`${formatHeldRows(rowsOf(one, three))}\n`);
}

async function measure(coordinators: number): Promise<Throughput> {
  const postgres = await Postgres.start();
  const members: MemberProcess[] = [];
  let tabs: ProcessTab[] = [];
  try {
    const databaseUrl = postgres.url();
    for (let i = 0; i < coordinators; i++)
      members.push(await MemberProcess.open(databaseUrl, await freePort(), LINE_BYTES_PER_SECOND));
    tabs = await Promise.all(Array.from({ length: TABS }, () => ProcessTab.open()));
    for (const [i, tab] of tabs.entries()) {
      const { url } = members[i % coordinators]!;
      tab.lend({ url, pledgeBytes: PLEDGE_BYTES, seed: i + 1, measured: FULL_PACE });
    }
    await joined(members);
    for (const tab of tabs) tab.place(FULL_PACE, { roundTripMs: ROUND_TRIP_MS, loss: 0 });
    for (const [i, member] of members.entries()) member.ask(STREAMS_PER_COORDINATOR, i * STREAMS_PER_COORDINATOR);
    await delay(WARM_UP_MS);
    const before = await Promise.all(members.map((member) => member.figures()));
    await delay(MEASURED_MS);
    const after = await Promise.all(members.map((member) => member.figures()));
    const throughput = between(before, after);
    process.stderr.write(`${JSON.stringify(throughput)}\n`);
    return throughput;
  } finally {
    await Promise.all([...tabs, ...members].map((process) => process.close()));
    await postgres.close();
  }
}

/** Waits until all tabs serve, and every expert is served somewhere. */
async function joined(members: readonly MemberProcess[]): Promise<void> {
  const untilMs = performance.now() + JOIN_TIMEOUT_MS;
  for (;;) {
    const now = await Promise.all(members.map((member) => member.figures()));
    const serving = now.reduce((sum, { ownTabs }) => sum + ownTabs, 0);
    if (serving === TABS && now.every(({ uncovered }) => uncovered === 0)) return;
    if (performance.now() > untilMs)
      throw new Error(`Only ${serving} of ${TABS} tabs serve after ${JOIN_TIMEOUT_MS / 1000} s.`);
    await delay(250);
  }
}

function between(before: readonly MemberFigures[], after: readonly MemberFigures[]): Throughput {
  const since = (of: (figures: MemberFigures) => number): number =>
    after.reduce((sum, now, i) => sum + of(now) - of(before[i]!), 0);
  const perSecond = (of: (figures: MemberFigures) => number): number =>
    after.reduce((sum, now, i) => sum + (1000 * (of(now) - of(before[i]!))) / (now.atMs - before[i]!.atMs), 0);
  const tokens = since((figures) => figures.tokens);
  const work = since((figures) => figures.tabAssignments + figures.fallbackAssignments);
  const lines = LINE_BYTES_PER_SECOND * after.length;
  return {
    coordinators: after.length,
    tokensPerSecond: perSecond((figures) => figures.tokens),
    sentShare: perSecond((figures) => figures.sent) / lines,
    receivedShare: perSecond((figures) => figures.received) / lines,
    localShare: work === 0 ? 0 : since((figures) => figures.fallbackAssignments) / work,
    repeatedPerToken: tokens === 0 ? 0 : since((figures) => figures.repeated) / tokens,
    ownTabs: after.map(({ ownTabs }) => ownTabs),
    remoteTabs: after.map(({ remoteTabs }) => remoteTabs),
  };
}

function rowsOf(one: Throughput, three: Throughput): HeldRow[] {
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const ratio = three.tokensPerSecond / one.tokensPerSecond;
  const rate = `${(LINE_BYTES_PER_SECOND * 8) / 1e6} Mbit/s each`;
  const details = ({ coordinators, ...found }: Throughput): HeldRow[] => [
    {
      figure: `tokens/s, coordinators: ${coordinators}, ${TABS} tabs, ${STREAMS_PER_COORDINATOR} streams each`,
      measured: found.tokensPerSecond.toFixed(1),
      reference: rate,
    },
    {
      figure: '  of their lines, sent and received, without packets’ headers',
      measured: `${percent(found.sentShare)}, ${percent(found.receivedShare)}`,
      reference: '',
    },
    {
      figure: '  assignments computed by coordinators; laps asked of another as well, per token',
      measured: `${percent(found.localShare)}; ${found.repeatedPerToken.toFixed(2)}`,
      reference: '',
    },
    {
      figure: '  tabs at home; links to those of others',
      measured: `${found.ownTabs.join(' ')}; ${found.remoteTabs.join(' ')}`,
      reference: '',
    },
  ];
  const target = { reference: `≥ ${AT_LEAST}`, met: ratio >= AT_LEAST };
  return [
    ...details(one),
    ...details(three),
    { figure: 'tokens/s of three coordinators by those of one', measured: ratio.toFixed(2), ...target },
  ];
}
