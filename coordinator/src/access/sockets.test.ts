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
