import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server } from 'node:net';
import type { RtcImplementation } from '@shoal/transport/node';
import { afterEach, describe, expect, it } from 'vitest';
import { checkIceServers, parseIceUrl } from './ice.ts';
import { checkPort } from './port.ts';
import { type Attributes, type Class, decode, encode, errorCode, METHODS, peerAddress, read } from './stun.ts';
import { checkUdp } from './udp.ts';

const closeLater: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closeLater.splice(0)) await close();
});

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closeLater.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

describe('the port', () => {
  const one = (port: number) => ({ first: port, last: port });

  it('is free, or used by another program, or by a coordinator', async () => {
    expect(await checkPort('127.0.0.1', one(0))).toMatchObject([{ verdict: 'ok' }]);
    const other = await listening(createServer((socket) => socket.end('220 mail\r\n')));
    expect(await checkPort('127.0.0.1', one(other))).toMatchObject([
      { verdict: 'failed', what: expect.stringContaining('another program') },
    ]);
    const http = createHttpServer((_, response) => response.end(JSON.stringify({ status: 'up', version: '7.0.0' })));
    const shoal = await listening(http);
    expect(await checkPort('127.0.0.1', one(shoal))).toMatchObject([
      { verdict: 'warning', what: expect.stringContaining('Shoal 7.0.0') },
    ]);
  });

  it('is one of a range', async () => {
    const taken =
      (...ports: number[]) =>
      (_: string, port: number) =>
        Promise.resolve(ports.includes(port) ? Object.assign(new Error(), { code: 'EACCES' }) : undefined);
    expect(await checkPort('::1', { first: 80, last: 82 }, taken(80, 81))).toMatchObject([
      { verdict: 'ok', what: expect.stringContaining('[::1]:82 is free') },
    ]);
    expect(await checkPort('::1', { first: 80, last: 82 }, taken(80, 81, 82))).toMatchObject([
      { verdict: 'failed', what: expect.stringContaining('no port from 80 to 82') },
    ]);
  });

  it('may be forbidden, or the address another machine’s', async () => {
    const forbidden = () => Promise.resolve(Object.assign(new Error('EACCES'), { code: 'EACCES' }));
    expect(await checkPort('127.0.0.1', one(80), forbidden)).toMatchObject([
      { verdict: 'failed', remedy: expect.stringContaining('ip_unprivileged_port_start') },
    ]);
    expect(await checkPort('203.0.113.9', one(8787))).toMatchObject([
      { verdict: 'failed', what: '203.0.113.9 is no address of this machine' },
    ]);
  });
});

describe('UDP', () => {
  it('carries a WebRTC connection of this process to itself, and leads out of a container only if told how', async () => {
    const options = { hasIceServers: false, announced: [] };
    const [inside] = await checkUdp({ ...options, inContainer: false });
    expect(inside).toMatchObject({
      verdict: 'ok',
      what: expect.stringMatching(/^UDP works \(.*\); tabs are told .*\d/),
    });
    const announced = await checkUdp({ ...options, announced: ['198.51.100.7'], inContainer: true });
    expect(announced).toMatchObject([{ verdict: 'ok', what: expect.stringContaining('tabs are told 198.51.100.7') }]);
  });

  it('may be impossible', async () => {
    const options = { hasIceServers: false, announced: [] };
    const missing = () => Promise.reject(new Error('No WebRTC for sunos-sparc. Run npm install.'));
    expect(await checkUdp({ ...options, load: missing })).toEqual([
      {
        verdict: 'failed',
        what: 'there is no WebRTC here, so no tab could join',
        remedy: 'No WebRTC for sunos-sparc. Run npm install.',
      },
    ]);
    function RTCPeerConnection(): never {
      throw new Error('sockets are forbidden');
    }
    const classes = { RTCPeerConnection, RTCSessionDescription: Object, RTCIceCandidate: Object };
    const broken = async () => ({ name: 'wrtc', classes, close() {} }) as unknown as RtcImplementation;
    expect(await checkUdp({ ...options, load: broken })).toMatchObject([
      { verdict: 'failed', remedy: expect.stringContaining('firewall') },
    ]);
  });
});

/** A server that knows one user, or gives every allocation this error. */
async function turnServer(options: { error?: number; silent?: boolean } = {}): Promise<number> {
  const answer = (bytes: Buffer): Buffer | undefined => {
    const { message } = decode(bytes)!;
    if (options.silent) return undefined;
    const reply = (kind: Class, attributes: Attributes): Buffer =>
      encode(kind, message.method, attributes, undefined, Buffer.from(message.id));
    const refuse = (code: number): Buffer => {
      const error = Buffer.from([0, 0, Math.floor(code / 100), code % 100]);
      return reply('error', { error, realm: Buffer.from('shoal'), nonce: Buffer.from('n1') });
    };
    if (message.method === METHODS.binding) return reply('success', { mapped: peerAddress('192.0.2.7', 4000) });
    if (read(message, 'integrity') === undefined) return refuse(401);
    const code = read(message, 'username')!.toString() === 'shoal' ? (options.error ?? 0) : 401;
    return code === 0 ? reply('success', { relayed: peerAddress('192.0.2.8', 50_000) }) : refuse(code);
  };
  const tcp = createServer((socket) => {
    socket.on('data', (bytes) => {
      const reply = answer(bytes);
      if (reply) socket.write(reply);
    });
    socket.on('error', () => {});
    closeLater.push(() => socket.destroy());
  });
  const port = await listening(tcp);
  const udp = createSocket('udp4');
  udp.on('message', (bytes, { port: from, address }) => {
    const reply = answer(bytes);
    if (reply) udp.send(reply, from, address);
  });
  udp.bind(port, '127.0.0.1');
  await once(udp, 'listening');
  closeLater.push(() => udp.close());
  return port;
}

describe('STUN and TURN servers', () => {
  const login = { username: 'shoal', credential: 'secret' };

  it('answer over UDP and over TCP', async () => {
    const port = await turnServer();
    const urls = [`stun:127.0.0.1:${port}`, `turn:127.0.0.1:${port}`, `turn:127.0.0.1:${port}?transport=tcp`];
    expect(await checkIceServers([{ urls, ...login }])).toMatchObject([
      { verdict: 'ok', what: expect.stringContaining('as 192.0.2.7:4000') },
      { verdict: 'ok', what: expect.stringContaining('a relay at 192.0.2.8:50000') },
      { verdict: 'ok', what: expect.stringContaining('a relay at 192.0.2.8:50000') },
    ]);
  });

  it('refuse a wrong login, or give no relay', async () => {
    const urls = `turn:127.0.0.1:${await turnServer({ error: 486 })}`;
    expect(await checkIceServers([{ urls, username: 'guest', credential: 'x' }])).toMatchObject([
      { verdict: 'failed', what: expect.stringContaining('refuses the username or the credential') },
    ]);
    expect(await checkIceServers([{ urls, ...login }])).toMatchObject([
      { verdict: 'failed', remedy: expect.stringContaining('--user-quota') },
    ]);
    expect(await checkIceServers([{ urls }])).toMatchObject([
      { verdict: 'failed', what: expect.stringContaining('has no username') },
    ]);
  });

  it('do not answer, or have no name', async () => {
    const silent = await turnServer({ silent: true });
    const servers = [
      { urls: `turn:127.0.0.1:${silent}`, ...login },
      { urls: `turn:127.0.0.1:1?transport=tcp`, ...login },
      { urls: 'turn:none.invalid', ...login },
    ];
    expect(await checkIceServers(servers, 700)).toMatchObject([
      { verdict: 'failed', what: expect.stringContaining('does not answer over UDP: no answer within 0.7 s') },
      { verdict: 'failed', what: expect.stringContaining('does not answer over TCP: connect ECONNREFUSED') },
      { verdict: 'failed', what: expect.stringContaining('turn:none.invalid: ') },
    ]);
  });

  it('have URLs as RFC 7064 and RFC 7065 write them', () => {
    expect(parseIceUrl('stun:example.org')).toEqual({
      scheme: 'stun',
      host: 'example.org',
      port: 3478,
      transport: 'udp',
    });
    expect(parseIceUrl('turns:[2001:db8::1]:443?transport=tcp')).toEqual({
      scheme: 'turns',
      host: '2001:db8::1',
      port: 443,
      transport: 'tls',
    });
    expect([parseIceUrl('turn:a@b'), parseIceUrl('turn://a'), parseIceUrl('http:a')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('say what is wrong in a number', () => {
    expect(errorCode({ method: 3, class: 'error', id: Buffer.alloc(12), attributes: new Map() })).toBe(500);
  });
});
