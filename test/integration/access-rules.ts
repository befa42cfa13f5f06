import { accessFixture, entry } from '../../coordinator/src/access/testing/fixtures.ts';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

export const RULES = {
  invites: [entry('class', 'invite-for-class'), entry('pair', 'invite-for-pair', { maxPeers: 2 })],
  apiKeys: [
    entry('ann', 'key-of-ann'),
    entry('bob', 'key-of-bob', { requestsPerMinute: 2 }),
    entry('cleo', 'key-of-cleo', { maxConcurrent: 1 }),
    entry('dora', 'key-of-dora', { tokensPerMinute: 40 }),
  ],
  admins: [entry('vera', 'token-of-vera', { role: 'viewer' }), entry('otto', 'token-of-otto', { role: 'operator' })],
};
export const LIMITS = { peersPerAddress: 3, joinsPerMinutePerAddress: 20 };

export interface Guarded {
  coordinator: Coordinator;
  /** The access file. */
  path: string;
  shardBytes: number;
  /** Replaces the access file. The limits stay, with two shards an hour for each address. */
  write(rules: object): void;
  metricsText(): Promise<string>;
}

/** A coordinator with RULES in its access file. The tests act as its proxy, so that they can use many addresses. */
export async function startGuarded(): Promise<Guarded> {
  const { path, write } = accessFixture();
  let shardBytes = 2 ** 20;
  const writeRules = (rules: object): void =>
    write({ ...rules, limits: { ...LIMITS, shardBytesPerHourPerAddress: 2 * shardBytes } });
  writeRules(RULES);
  const coordinator = await startTinyCoordinator({
    replicas: 1,
    accessFile: path,
    trustProxy: true,
    drainTimeoutMs: 100,
  });
  ({ shardBytes } = coordinator.packed.manifest);
  writeRules(RULES);
  coordinator.access.reload();
  return {
    coordinator,
    path,
    shardBytes,
    write: writeRules,
    async metricsText() {
      const headers = { authorization: 'Bearer token-of-vera' };
      return (await fetch(`${coordinator.url}/metrics`, { headers })).text();
    },
  };
}
