import type { AddressLimit, RulesChange, RulesView } from '@shoal/protocol';

/**
 * The defaults are high enough for a household, a school class or a test bench behind one address, and low enough to keep one
 * machine from taking every place: 16 demo tabs that reconnect at once use an eighth of the joins.
 */
export const DEFAULT_LIMITS: Readonly<Record<AddressLimit, number>> = {
  /** Tabs of one address at a time. */
  peersPerAddress: 64,
  /** Tabs of one donor (one browser) at a time. They share one GPU, and never hold replicas of the same expert. */
  tabsPerDonor: 8,
  joinsPerMinutePerAddress: 128,
  /** Bytes of weights sent to one address: 64 tabs of 1 GiB with empty caches; as a steady rate, 153 Mbit/s. */
  shardBytesPerHourPerAddress: 64 * 2 ** 30,
};

interface Entry {
  name: string;
  /** SHA-256 of its token. */
  digest: Buffer;
}
export interface Invite extends Entry {
  /** Infinity for one that does not expire. */
  expiresMs: number;
  maxPeers?: number | undefined;
}
export interface ApiKey extends Entry {
  requestsPerMinute?: number | undefined;
  tokensPerMinute?: number | undefined;
  tokensPerDay?: number | undefined;
  maxConcurrent?: number | undefined;
}
export interface Admin extends Entry {
  role: 'viewer' | 'operator';
}

/** Who may do what, as it is asked in every request and visit: a few lists in memory. */
export interface AccessPolicy {
  invites: readonly Invite[];
  inviteOnly: boolean;
  /** Undefined if the API requires no key. */
  apiKeys: readonly ApiKey[] | undefined;
  admins: readonly Admin[];
  /** Whether /metrics requires an admin token, of either role. */
  metricsNeedAdmin: boolean;
  limits: Readonly<Record<AddressLimit, number>>;
}

/** The policy without any rules. */
export const OPEN_POLICY: AccessPolicy = {
  invites: [],
  inviteOnly: false,
  apiKeys: undefined,
  admins: [],
  metricsNeedAdmin: false,
  limits: DEFAULT_LIMITS,
};

/** The first admin, whom a coordinator makes where there is none: it keeps the console's door, and closes no other. */
export const FIRST_ADMIN = 'first';

/** What is stored of the rules: what has been chosen, the entries in force, and of which kinds any was ever made. */
export interface StoredRules {
  chosen: RulesChange;
  keys: readonly ApiKey[];
  invites: readonly Invite[];
  admins: readonly Admin[];
  hadAny: Readonly<Record<'keys' | 'invites', boolean>>;
}

/**
 * A first key or invitation closes the door that it is for, and revoking the last one doesn't open it again: only a person who says
 * so does.
 */
export function policyOf({ chosen, keys, invites, admins, hadAny }: StoredRules): AccessPolicy {
  const { api, swarm, metrics, ...limits } = chosen;
  const given = Object.entries(limits).filter(([, value]) => value != null);
  const needsKey = (api ?? (hadAny.keys ? 'keys' : 'open')) === 'keys';
  const hasAdmins = admins.some(({ name }) => name !== FIRST_ADMIN);
  return {
    invites,
    inviteOnly: (swarm ?? (hadAny.invites ? 'invited' : 'open')) === 'invited',
    apiKeys: needsKey ? keys : undefined,
    admins,
    metricsNeedAdmin: (metrics ?? (hasAdmins ? 'admins' : 'open')) === 'admins',
    limits: { ...DEFAULT_LIMITS, ...Object.fromEntries(given) },
  };
}

/** The rules of a policy as operators see them. */
export function rulesView({ apiKeys, inviteOnly, metricsNeedAdmin, limits }: AccessPolicy): RulesView {
  return {
    api: apiKeys ? 'keys' : 'open',
    swarm: inviteOnly ? 'invited' : 'open',
    metrics: metricsNeedAdmin ? 'admins' : 'open',
    limits,
  };
}

/** Equal for entries with the same name, token and limits. */
export function fingerprint({ digest, ...entry }: { digest: Buffer }): string {
  return `${digest.toString('hex')} ${JSON.stringify(entry)}`;
}

/** What a change of the rules does, by names and numbers; digests stay out of logs. Undefined where it does nothing. */
export function describeChange(before: AccessPolicy, after: AccessPolicy): string | undefined {
  const parts: string[] = [];
  for (const list of ['invites', 'apiKeys', 'admins'] as const) {
    const old = byName(before[list] ?? []);
    const now = byName(after[list] ?? []);
    const added = [...now.keys()].filter((name) => !old.has(name));
    // Of an API that requires no key any more, that is all there is to say.
    const isOpened = list === 'apiKeys' && after.apiKeys === undefined;
    const gone = isOpened ? [] : [...old.keys()].filter((name) => !now.has(name));
    const changed = [...now.keys()].filter((name) => old.has(name) && old.get(name) !== now.get(name));
    if (added.length > 0) parts.push(`${list} + ${added.join(', ')}`);
    if (gone.length > 0) parts.push(`${list} − ${gone.join(', ')}`);
    if (changed.length > 0) parts.push(`${list} changed: ${changed.join(', ')}`);
  }
  const tell = (was: boolean, is: boolean, yes: string, no: string): void => {
    if (was !== is) parts.push(is ? yes : no);
  };
  tell(before.inviteOnly, after.inviteOnly, 'an invitation is required', 'anyone may join');
  const needsKey = ({ apiKeys }: AccessPolicy): boolean => apiKeys !== undefined;
  tell(needsKey(before), needsKey(after), 'the API requires a key', 'the API requires no key');
  tell(before.metricsNeedAdmin, after.metricsNeedAdmin, '/metrics requires an admin token', '/metrics is open');
  for (const [limit, value] of Object.entries(after.limits)) {
    if (before.limits[limit as keyof typeof before.limits] !== value) parts.push(`${limit} ${value}`);
  }
  return parts.length === 0 ? undefined : parts.join('; ');
}

function byName(entries: readonly { name: string; digest: Buffer }[]): Map<string, string> {
  return new Map(entries.map((entry) => [entry.name, fingerprint(entry)]));
}
