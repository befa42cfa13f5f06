import {
  type AccessKind,
  type AccessView,
  entryChangeSchemas,
  newEntrySchemas,
  type UsageReport,
  type UsageRow,
} from '@shoal/protocol';

const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(2026, 10, 30, 12);
const MADE = { created: '2026-11-02T09:00:00Z', by: 'otto', revoked: null };
const NO_KEY_LIMITS = { requestsPerMinute: null, tokensPerMinute: null, tokensPerDay: null, maxConcurrent: null };

export function fakeAccess(): AccessView {
  return {
    source: 'database',
    file: null,
    away: null,
    rules: {
      api: 'keys',
      swarm: 'invited',
      metrics: 'admins',
      limits: {
        peersPerAddress: 64,
        tabsPerDonor: 8,
        joinsPerMinutePerAddress: 128,
        shardBytesPerHourPerAddress: 64 * 2 ** 30,
      },
    },
    keys: [
      {
        name: 'ann',
        note: 'Her thesis, until summer',
        ...MADE,
        ...NO_KEY_LIMITS,
        requestsPerMinute: 60,
        tokensPerDay: 200_000,
      },
      { name: 'batch.nightly', note: '', ...MADE, ...NO_KEY_LIMITS },
      { name: 'old-laptop', note: '', ...MADE, ...NO_KEY_LIMITS, revoked: '2026-11-20T10:00:00Z' },
    ],
    invites: [
      { name: 'class-3b', note: '', ...MADE, expires: '2030-01-31T12:00:00Z', maxPeers: 20 },
      { name: 'fair', note: 'The science fair', ...MADE, expires: '2026-11-20T18:00:00Z', maxPeers: null },
    ],
    admins: [
      { name: 'otto', note: '', ...MADE, role: 'operator' },
      { name: 'vera', note: 'The school’s office', ...MADE, role: 'viewer' },
    ],
  };
}

const row = (requests: number, promptTokens: number, completionTokens: number, refusals = 0) => ({
  requests,
  refusals,
  promptTokens,
  completionTokens,
});

/** What the fake coordinator's keys have used, by the parts that the page asks for. */
export function fakeUsage(query: URLSearchParams): UsageReport {
  const day = (ago: number): string => new Date(NOW_MS - ago * DAY_MS).toISOString().slice(0, 10);
  const [from, to] = [query.get('from') ?? day(29), query.get('to') ?? day(0)];
  const isToday = from === to;
  const rows: UsageRow[] =
    query.get('by') === 'key'
      ? [
          {
            key: 'ann',
            ...row(isToday ? 12 : 340, isToday ? 4_100 : 96_000, isToday ? 2_300 : 61_500, isToday ? 0 : 7),
          },
          ...(isToday ? [] : [{ key: 'batch.nightly', ...row(2_900, 1_210_000, 440_000) }]),
        ]
      : Array.from({ length: 30 }, (_, ago) => ({
          day: day(ago),
          model: ago % 3 === 0 ? 'pirates' : 'tiny-stories',
          ...row(10 + ago, 200 * (ago % 7), 140 * (ago % 5), ago === 4 ? 7 : 0),
        }));
  return { from, to, rows };
}

/** Answers what is asked under /admin, and changes `view` as the coordinator would. */
export function answerAdmin(
  view: AccessView,
  method: string,
  url: URL,
  body: unknown,
): { status: number; answer: unknown } {
  const [, , part = '', name = ''] = url.pathname.split('/');
  if (part === 'access') return { status: 200, answer: view };
  if (part === 'usage') return { status: 200, answer: fakeUsage(url.searchParams) };
  const kind = part as AccessKind;
  const entries = view[kind] as { name: string; revoked: string | null }[];
  if (method === 'POST') {
    const { name: given, ...more } = newEntrySchemas[kind].parse(body);
    if (entries.some((entry) => entry.name === given && entry.revoked === null))
      return failure(409, `There is a ${given} already.`);
    const limits = kind === 'keys' ? NO_KEY_LIMITS : { expires: null, maxPeers: null };
    const entry = { name: given, note: '', ...MADE, ...limits, ...more };
    entries.push(entry);
    return { status: 201, answer: { entry, token: 'a-new-token-of-32-characters-000' } };
  }
  const entry = entries.find((one) => one.name === decodeURIComponent(name));
  if (!entry) return failure(404, 'It is not known.');
  if (method === 'PATCH') Object.assign(entry, entryChangeSchemas[kind].parse(body));
  if (method === 'DELETE') entry.revoked = '2026-11-30T12:00:00Z';
  return { status: 200, answer: entry };
}

const failure = (status: number, message: string) => ({ status, answer: { error: { message } } });
