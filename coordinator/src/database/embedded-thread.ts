import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import type { FromThread, ThreadData, ToThread } from './embedded-messages.ts';
import { Frames, isNotification, transactionStatus } from './wire.ts';

/*
 * The program of the thread that runs the embedded database. Connections speak Postgres's protocol to it. PGlite has one session,
 * so they take turns by whole queries, and one that is in a transaction keeps its turn until the end of it.
 */

/** A transaction whose owner asks nothing for so long is rolled back. */
const IDLE_IN_TRANSACTION_MS = 15_000;

const port = parentPort!;
const { entry, dir, template } = workerData as ThreadData;
const send = (message: FromThread): void => port.postMessage(message);

interface Connection {
  readonly frames: Frames;
  /** Whole queries that wait for their turn. */
  readonly queries: Uint8Array[];
}

const connections = new Map<number, Connection>();
/** The one that is in a transaction. */
let owner: number | undefined;
let idle: NodeJS.Timeout | undefined;
let scheduled = false;

const { PGlite } = createRequire(entry)(entry) as typeof import('@electric-sql/pglite');
type Embedded = Awaited<ReturnType<typeof PGlite.create>>;

async function start(): Promise<Embedded> {
  if (dir !== undefined) {
    // fsync stays on where there is a disk: PGlite's own defaults turn it off by "-F".
    const startParams = PGlite.defaultStartParams.filter((param) => param !== '-F');
    return PGlite.create({ dataDir: dir, startParams });
  }
  if (template !== undefined && existsSync(template))
    return PGlite.create({ dataDir: 'memory://', loadDataDir: new Blob([readFileSync(template)]) });
  const database = await PGlite.create({ dataDir: 'memory://' });
  if (template !== undefined) {
    // Under another name first, so that nobody finds half of it.
    const part = `${template}.${process.pid}.part`;
    mkdirSync(dirname(template), { recursive: true });
    writeFileSync(part, new Uint8Array(await (await database.dumpDataDir('none')).arrayBuffer()));
    renameSync(part, template);
  }
  return database;
}

start().then(serve, (error: unknown) => send({ kind: 'failed', why: String((error as Error)?.message ?? error) }));

function serve(database: Embedded): void {
  // A copy: it is a view of what later answers are written into.
  const greeting = new Uint8Array(database.execProtocolRawSync(startupPacket()));
  /** Answers of one query; notifications go to all connections. */
  const answer = (to: number, bytes: Uint8Array): void => {
    const frames = new Frames(false);
    const own: Uint8Array[] = [];
    for (const frame of frames.push(bytes)) {
      if (!isNotification(frame)) own.push(frame);
      else
        for (const connection of connections.keys()) send({ kind: 'bytes', connection, bytes: new Uint8Array(frame) });
    }
    if (own.length > 0) send({ kind: 'bytes', connection: to, bytes: joined(own) });
    owner = transactionStatus(bytes) === 'idle' ? undefined : to;
  };
  const rollBack = (): void => {
    if (owner === undefined) return;
    database.execProtocolRawSync(simpleQuery('rollback'));
    owner = undefined;
  };
  const runNext = (): void => {
    scheduled = false;
    const waiting = owner === undefined ? [...connections.keys()] : [owner];
    const next = waiting.find((id) => connections.get(id)!.queries.length > 0);
    clearTimeout(idle);
    if (next !== undefined) {
      const query = connections.get(next)!.queries.shift()!;
      // In turn: the one that was served goes to the end.
      const connection = connections.get(next)!;
      connections.delete(next);
      connections.set(next, connection);
      answer(next, database.execProtocolRawSync(query));
      schedule();
    } else if (owner !== undefined) {
      const late = owner;
      idle = setTimeout(() => end(late), IDLE_IN_TRANSACTION_MS);
    }
  };
  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    setImmediate(runNext);
  };
  const end = (id: number): void => {
    connections.delete(id);
    if (owner === id) rollBack();
    send({ kind: 'ended', connection: id });
    schedule();
  };
  port.on('message', (message: ToThread) => {
    if (message.kind === 'stop') return void stop(database);
    const id = message.connection;
    if (message.kind === 'open') connections.set(id, { frames: new Frames(true), queries: [] });
    if (message.kind === 'end' && connections.has(id)) end(id);
    const connection = connections.get(id);
    if (message.kind !== 'bytes' || !connection) return;
    for (const query of connection.frames.queries(message.bytes)) {
      if (query === 'startup') send({ kind: 'bytes', connection: id, bytes: greeting });
      else if (query === 'terminate') end(id);
      else connection.queries.push(query);
    }
    schedule();
  });
  send({ kind: 'ready' });
}

async function stop(database: Embedded): Promise<void> {
  await database.close().catch(() => {});
  send({ kind: 'stopped' });
}

function startupPacket(): Uint8Array {
  const body = Buffer.from('user\0postgres\0database\0postgres\0\0');
  const packet = Buffer.alloc(8 + body.length);
  packet.writeInt32BE(packet.length, 0);
  packet.writeInt32BE(196_608, 4);
  body.copy(packet, 8);
  return packet;
}

/** In a buffer of its own: a message takes all that is behind its view. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function simpleQuery(sql: string): Uint8Array {
  const body = Buffer.from(`${sql}\0`);
  const packet = Buffer.alloc(5 + body.length);
  packet.write('Q', 0);
  packet.writeInt32BE(4 + body.length, 1);
  body.copy(packet, 5);
  return packet;
}
