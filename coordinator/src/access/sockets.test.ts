import { EventEmitter } from 'node:events';
import { beforeEach, expect, it } from 'vitest';
import { SocketGuard } from './sockets.ts';
import { accessFixture } from './testing/fixtures.ts';

const { open } = accessFixture();
let nowMs = 0;
const clock = (): number => nowMs;
beforeEach(() => (nowMs = 0));

it('SocketGuard limits how fast one address opens sockets', () => {
  const guard = new SocketGuard(open({ limits: { joinsPerMinutePerAddress: 1 } }), clock);
  const refusals = Array.from({ length: 70 }, () => guard.refusal('10.0.0.1'));
  expect(refusals.filter((refusal) => refusal === undefined)).toHaveLength(66);
  expect(guard.refusal('10.0.0.2')).toBeUndefined();
  nowMs = 60_000;
  expect(guard.refusal('10.0.0.1')).toBeUndefined();
});

it('SocketGuard ends a connection that sends more than a joining tab, of whatever kind', () => {
  const access = open({});
  const engine = new EventEmitter();
  new SocketGuard(access, clock).watch({ engine } as never);
  const connect = () => {
    const connection = Object.assign(new EventEmitter(), {
      request: { headers: {}, socket: { remoteAddress: '10.0.0.1' } },
      closed: false,
      close: () => (connection.closed = true),
    });
    engine.emit('connection', connection);
    return connection;
  };
  const send = (connection: ReturnType<typeof connect>, count: number, packet: object): void => {
    for (let i = 0; i < count && !connection.closed; i++) connection.emit('packet', packet);
  };
  const honest = connect();
  send(honest, 1, { type: 'message', data: 'h'.repeat(80 << 10) });
  send(honest, 160, { type: 'message', data: 'candidate'.repeat(20) });
  expect(honest.closed).toBe(false);
  for (let second = 0; second < 60; second++) {
    nowMs += 1000;
    send(honest, 20, { type: 'message', data: 'progress'.repeat(20) });
  }
  expect(honest.closed).toBe(false);

  for (const [count, packet] of [
    [4, { type: 'message', data: '['.repeat(150 << 10) }],
    [600, { type: 'pong' }],
  ] as const) {
    const flood = connect();
    send(flood, count, packet);
    expect(flood.closed).toBe(true);
  }
  expect(access.refusals.connection).toBe(2);
});
