import { expect, it } from 'vitest';
import { describeChange, FIRST_ADMIN, OPEN_POLICY, policyOf, type StoredRules } from './policy.ts';
import { digestOf } from './token.ts';

const EMPTY: StoredRules = {
  chosen: {},
  keys: [],
  invites: [],
  admins: [],
  hadAny: { keys: false, invites: false },
};
const key = { name: 'ann', digest: digestOf('a') };
const admin = (name: string) => ({ name, digest: digestOf(name), role: 'operator' as const });

it('opens everything where nothing was ever made, also beside the first admin', () => {
  expect(policyOf(EMPTY)).toEqual(OPEN_POLICY);
  expect(policyOf({ ...EMPTY, admins: [admin(FIRST_ADMIN)] })).toMatchObject({ metricsNeedAdmin: false });
  expect(policyOf({ ...EMPTY, admins: [admin(FIRST_ADMIN), admin('vera')] })).toMatchObject({ metricsNeedAdmin: true });
});

it('closes a door with the first entry, and opens it only when told to', () => {
  const hadAny = { keys: true, invites: true };
  expect(policyOf({ ...EMPTY, keys: [key], hadAny })).toMatchObject({ apiKeys: [key], inviteOnly: true });
  // All of them were revoked.
  expect(policyOf({ ...EMPTY, hadAny })).toMatchObject({ apiKeys: [], inviteOnly: true });
  const chosen = { api: 'open', swarm: 'open', metrics: 'admins', tabsPerDonor: 2, peersPerAddress: null } as const;
  expect(policyOf({ ...EMPTY, keys: [key], hadAny, chosen })).toEqual({
    ...OPEN_POLICY,
    metricsNeedAdmin: true,
    limits: { ...OPEN_POLICY.limits, tabsPerDonor: 2 },
  });
  const early = { api: 'keys', swarm: 'invited' } as const;
  expect(policyOf({ ...EMPTY, chosen: early })).toMatchObject({ apiKeys: [], inviteOnly: true });
});

it('describes a change by names, and an equal policy not at all', () => {
  const closed = { ...OPEN_POLICY, apiKeys: [key] };
  expect(describeChange(OPEN_POLICY, closed)).toBe('apiKeys + ann; the API requires a key');
  expect(describeChange(closed, OPEN_POLICY)).toBe('the API requires no key');
  expect(describeChange(closed, { ...closed, apiKeys: [] })).toBe('apiKeys − ann');
  expect(describeChange(closed, { ...closed, apiKeys: [{ ...key }] })).toBeUndefined();
});
