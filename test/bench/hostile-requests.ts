import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { io } from 'socket.io-client';
import { helloOf } from '../../coordinator/src/swarm/testing/fake-tab.ts';

/** What strangers send to the port, each from a thread of its own, again and again. */
export const HOSTILE_REQUESTS = [
  'pipelines shards',
  'pipelines metrics',
  'sends bad JSON',
  'sends a word of 1 MB',
  'says hello only',
] as const;
export type HostileRequest = (typeof HOSTILE_REQUESTS)[number];

export interface HostileRequestOptions {
  kind: HostileRequest;
  url: string;
  /** SHA-256 of a shard. */
  shard: string;
}

const CONNECTIONS = 8;
const PIPELINED = 260;
/** Eight connections that send a megabyte each at this pace fill a line of 100 Mbit/s. */
const POST_EVERY_MS = 640;

/** Sends many requests at once on one connection, reads nothing, and closes it. */
async function pipeline({ url }: HostileRequestOptions, path: string): Promise<void> {
  const { hostname, port, host } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`.repeat(PIPELINED));
  await delay(200);
  socket.destroy();
}

async function post({ url }: HostileRequestOptions, body: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers, body }).catch(() => undefined);
  await response?.text().catch(() => {});
}

/** `attack` at most once in `everyMs`. */
async function paced(attack: Promise<void>, everyMs: number): Promise<void> {
  await Promise.all([attack, delay(everyMs)]);
}

async function sayHello({ url }: HostileRequestOptions): Promise<void> {
  const socket = io(`${url}/donor`, { reconnection: false, forceNew: true, transports: ['websocket'] });
  const reply = (await socket
    .timeout(5_000)
    .emitWithAck('hello', helloOf(crypto.randomUUID(), 100))
    .catch(() => {})) as { ok: boolean } | undefined;
  if (!reply?.ok) return void socket.close();
  await delay(1_000);
}

const ATTACKS: Record<HostileRequest, (options: HostileRequestOptions) => Promise<void>> = {
  'pipelines shards': (options) => pipeline(options, `/shards/${options.shard}`),
  'pipelines metrics': (options) => pipeline(options, '/metrics'),
  'sends bad JSON': (options) => paced(post(options, `{"messages":[${'1,'.repeat(2 ** 19 - 20)}1]}`), POST_EVERY_MS),
  'sends a word of 1 MB': (options) =>
    paced(
      post(options, JSON.stringify({ messages: [{ role: 'user', content: 'a'.repeat(1_000_000) }], max_tokens: 1 })),
      POST_EVERY_MS,
    ),
  'says hello only': sayHello,
};

if (parentPort) {
  const options = workerData as HostileRequestOptions;
  for (let i = 0; i < CONNECTIONS; i++) {
    void (async () => {
      for (;;) await ATTACKS[options.kind](options);
    })();
  }
}
