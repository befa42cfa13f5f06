import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { createRng } from '@shoal/model';
import { type Database, migrate, openDatabase, WriteQueue } from '../../coordinator/src/database/index.ts';
import { openServer } from '../../coordinator/src/database/server.ts';
import { EVENTS, USAGE } from '../../coordinator/src/records/books.ts';
import { PASSWORD, Postgres } from '../postgres.ts';
import { CutLine } from './cut-line.ts';

/** Of all rows. */
const AT_MS = 1_764_500_000_000;

type Say = (line: string) => void;

/** What a database on a real server has to stand; the embedded form of it is in `npm test`. Returns what did not hold. */
export async function databaseChaos(seconds: number, seed: number, say: Say): Promise<string[]> {
  const postgres = await Postgres.start();
  const faults: string[] = [];
  const check = (what: string, holds: boolean): void => {
    say(`${holds ? 'holds' : 'FAILS'}: ${what}`);
    if (!holds) faults.push(what);
  };
  try {
    await starts(postgres, check);
    await queues(postgres, { seconds, seed, say, check });
    return faults;
  } finally {
    await postgres.close();
  }
}

type Check = (what: string, holds: boolean) => void;

/** Errors at the start, and two members that start at once. */
async function starts(postgres: Postgres, check: Check): Promise<void> {
  const tries: [what: string, url: string, reason: string][] = [
    ['a port on which nobody answers', postgres.url('shoal', 1), 'unreachable'],
    ['a wrong password', postgres.url().replace(/:[^:@]+@/, ':wrong-secret@'), 'refused'],
    ['no password', postgres.url().replace(/:[^:@]+@/, '@'), 'refused'],
    ['an unknown user', postgres.url().replace('//shoal:', '//nobody-here:'), 'refused'],
    ['a database that does not exist', postgres.url('nothing'), 'no-database'],
  ];
  for (const [what, url, reason] of tries) {
    const error = await openServer(url, 1_000).catch((caught: unknown) => caught as Error & { reason?: string });
    const text = String((error as Error).message);
    check(`${what} is refused as ${reason}: ${text}`, 'reason' in error && error.reason === reason);
    check('and the message holds no password', !text.includes(PASSWORD) && !text.includes('wrong-secret'));
  }
  const two = await Promise.all([1, 2].map(() => openDatabase({ kind: 'server', url: postgres.url() })));
  const made = await Promise.allSettled(two.map((one) => migrate(one)));
  check(
    'two coordinators that start at once both find their tables',
    made.every(({ status }) => status === 'fulfilled'),
  );
  const { rows } = await sql`select name from kysely_migration group by name having count(*) > 1`.execute(two[0]!.db);
  check('and each migration ran once', rows.length === 0);
  await Promise.all(two.map((one) => one.close()));
}

interface QueueRun {
  seconds: number;
  seed: number;
  say: Say;
  check: Check;
}

/** Two writers while the server crashes, its line is cut at COMMITs, and unplugged. */
async function queues(postgres: Postgres, { seconds, seed, say, check }: QueueRun): Promise<void> {
  const line = await CutLine.open(postgres.port);
  const url = postgres.url('shoal', line.port);
  const writers = await Promise.all(['a', 'b'].map((name) => newWriter(name, url, say)));
  const steady = await openDatabase({ kind: 'server', url });
  const heard = { notes: 0, resumed: 0 };
  await steady.listen(
    'shoal_test',
    () => heard.notes++,
    () => heard.resumed++,
  );
  const rng = createRng(seed);
  const untilMs = performance.now() + seconds * 1000;
  const adding = setInterval(() => {
    for (const { add } of writers) add();
  }, 5);
  let slowestMs = 0;
  const watch = setInterval(() => {}, 1_000);
  while (performance.now() < untilMs) {
    await delay(500 + 2_000 * rng());
    const what = Math.floor(4 * rng());
    say(`${['the server is killed', 'COMMITs lose their answers', 'the line is cut', 'the line is unplugged'][what]}`);
    if (what === 0) {
      await postgres.stop('SIGKILL');
      await delay(1_000 * rng());
      await postgres.run();
    } else if (what === 1) {
      line.cutAfter = 'Q\0\0\0\x0bcommit\0';
      await delay(1_500);
      line.cutAfter = undefined;
    } else if (what === 2) line.cut();
    else {
      line.isUnplugged = true;
      await delay(3_000);
      line.isUnplugged = false;
      // As routers do in time. Deadlines of queries would find out too, after 12 s.
      line.cut();
    }
    const startMs = performance.now();
    for (const { add } of writers) add();
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
  }
  clearInterval(adding);
  clearInterval(watch);
  for (let i = 0; i < 100 && writers.some(({ queue }) => queue.rows > 0); i++) await delay(200);
  const reader = await openDatabase({ kind: 'server', url: postgres.url() });
  for (const { name, added, queue } of writers) {
    const written = await writtenBy(reader, name);
    say(`${name}: ${JSON.stringify(written)} of ${added()}; ${line.cuts} answers of COMMIT lost`);
    check(`all ${added()} rows of ${name} are there, once`, written.rows === added() && written.different === added());
    check(`and its counter says ${added()}`, written.requests === added());
    check('nothing was dropped', queue.lost.size === 0);
  }
  check('some COMMITs had lost their answers', seconds < 20 || line.cuts > 0);
  await sql`select pg_notify('shoal_test', '')`.execute(reader.db);
  await delay(500);
  check(`LISTEN was taken up again (${heard.resumed} times), and hears ${heard.notes} of 1`, heard.notes === 1);
  check(`no call that adds a row waited (${slowestMs.toFixed(1)} ms at most)`, slowestMs < 100);
  await Promise.all([...writers.map(({ close }) => close()), steady.close(), reader.close()]);
  line.close();
}

async function newWriter(name: string, url: string, say: Say) {
  const database = await openDatabase({ kind: 'server', url });
  database.events.on('away', (why) => say(`${name}: away (${why})`));
  database.events.on('back', (awayMs) => say(`${name}: back after ${Math.round(awayMs)} ms`));
  const queue = new WriteQueue(database, { writeAfterMs: 100, onError: say });
  const tell = queue.rowsOf(EVENTS);
  const count = queue.countersOf(USAGE);
  let added = 0;
  const add = (): void => {
    added++;
    tell({
      at: new Date(AT_MS),
      member: name,
      seq: added,
      level: 'info',
      kind: 'server',
      text: `${added}`,
      peer_id: null,
    });
    count({ key: name, day: '2026-11-30', model: 'm' }, { requests: 1 });
  };
  const close = async (): Promise<void> => {
    await queue.close();
    await database.close();
  };
  return { name, queue, add, added: () => added, close };
}

async function writtenBy({ db }: Database, name: string) {
  const { rows } = await sql<{ rows: number; different: number }>`
    select count(*) as rows, count(distinct seq) as different from events where member = ${name}`.execute(db);
  const usage = await db.selectFrom('usage').select('requests').where('key', '=', name).executeTakeFirst();
  return { ...rows[0]!, requests: usage?.requests };
}
