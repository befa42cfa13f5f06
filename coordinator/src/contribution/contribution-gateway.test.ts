import { createECDH, createPrivateKey, sign } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { type Challenge, type ContributionReply, proofText } from '@shoal/protocol';
import type { Namespace } from 'socket.io';
import { expect, it } from 'vitest';
import { donorIdOf } from '../swarm/donor-id.ts';
import { serveContributions } from './contribution-gateway.ts';

/** A browser's key, and what it signs. */
function newBrowser() {
  const own = createECDH('prime256v1');
  const point = own.generateKeys();
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'));
  const d = Buffer.concat([Buffer.alloc(32), own.getPrivateKey()])
    .subarray(-32)
    .toString('base64url');
  const key = createPrivateKey({ key: { kty: 'EC', crv: 'P-256', x: x!, y: y!, d }, format: 'jwk' });
  const ask = ({ nonce }: Challenge, request: string) => {
    const by = { key, dsaEncoding: 'ieee-p1363' } as const;
    const signature = sign('sha256', proofText('contribution', nonce, request), by).toString('base64url');
    return { proof: { key: point.toString('base64url'), signature }, request };
  };
  return { donor: donorIdOf(point), ask };
}

/** The gateway, and who was let through to ask what. */
function gateway() {
  const asked: [donor: string, what: string][] = [];
  const namespace = new EventEmitter();
  const contributions = {
    ask: async (donor: string, { do: what }: { do: string }): Promise<ContributionReply> => {
      asked.push([donor, what]);
      return { ok: false, message: 'asked' };
    },
  };
  const access = { addressOfSocket: () => '192.0.2.1' };
  serveContributions(namespace as unknown as Namespace, { access, contributions, clock: () => 0 });
  /** A socket with its challenge. */
  const connect = () => {
    const socket = new EventEmitter();
    let challenge!: Challenge;
    let isClosed = false;
    socket.once('challenge', (made: Challenge) => (challenge = made));
    Object.assign(socket, { disconnect: () => (isClosed = true) });
    namespace.emit('connection', socket);
    const send = (message: unknown): Promise<ContributionReply> =>
      new Promise((resolve) => socket.emit('ask', message, resolve));
    return { challenge, send, socket, isClosed: () => isClosed };
  };
  return { asked, connect };
}

const RENAME = '{"do":"name","name":"Ann","listed":true}';

it('lets a browser ask about its own account, once a socket', async () => {
  const { asked, connect } = gateway();
  const ann = newBrowser();
  const socket = connect();
  const message = ann.ask(socket.challenge, RENAME);
  expect(await socket.send(message)).toEqual({ ok: false, message: 'asked' });
  socket.socket.emit('ask', message, () => {});
  expect(socket.isClosed()).toBe(true);
  expect(asked).toEqual([[ann.donor, 'name']]);
});

it('lets nobody ask with a signature that is another’s, of another socket, or of another question', async () => {
  const { asked, connect } = gateway();
  const [ann, mallory] = [newBrowser(), newBrowser()];
  const first = connect();
  const overheard = ann.ask(first.challenge, RENAME);
  await first.send(overheard);
  asked.length = 0;
  const own = (socket: ReturnType<typeof connect>) => mallory.ask(socket.challenge, '{"do":"delete"}');
  const forged: ((socket: ReturnType<typeof connect>) => unknown)[] = [
    () => overheard,
    (socket) => ({ ...ann.ask(socket.challenge, RENAME), request: '{"do":"delete"}' }),
    (socket) => ({ ...own(socket), proof: { ...own(socket).proof, key: overheard.proof.key } }),
  ];
  for (const forge of forged) {
    const socket = connect();
    expect(await socket.send(forge(socket))).toMatchObject({ message: expect.stringMatching('does not hold') });
  }
  for (const malformed of [undefined, 7, {}, { ...overheard, request: 'x'.repeat(2_000) }])
    expect(await connect().send(malformed)).toMatchObject({ message: expect.stringMatching('does not know') });
  // Figures can't be named by a donor.
  const socket = connect();
  const inflated = mallory.ask(socket.challenge, '{"do":"work","tokens":1000000}');
  expect(await socket.send(inflated)).toMatchObject({ ok: false, message: expect.stringMatching('does not know') });
  const named = connect();
  const hidden = mallory.ask(named.challenge, JSON.stringify({ do: 'name', name: 'a\u202eb', listed: true }));
  expect(await named.send(hidden)).toMatchObject({ message: expect.stringMatching('Names have 1 to 32') });
  expect(asked).toEqual([]);
});

it('takes no more of an address than a person asks', async () => {
  const { asked, connect } = gateway();
  const ann = newBrowser();
  for (let i = 0; i < 70; i++) {
    const socket = connect();
    await socket.send(ann.ask(socket.challenge, '{"do":"look"}'));
  }
  expect(asked).toHaveLength(60);
});
