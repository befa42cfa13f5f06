import type { BansView, SettingsView } from '@shoal/protocol';
import { Settings } from '../../coordinator/src/settings/index.ts';

/** Settings as a coordinator has them that was started with --replicas 3, one of which an operator has changed. */
export function fakeSettings(): Settings {
  const settings = new Settings({ replicas: 3 });
  settings.replace(new Map([['deviceLimit', { value: 6, by: 'otto', at: new Date(Date.UTC(2026, 10, 29, 9)) }]]));
  settings.lock('creditPriority', 'credit is not counted here');
  return settings;
}

export function fakeBans(): BansView {
  return {
    bans: [
      {
        id: 7,
        kind: 'ban',
        subject: 'donor 0123456789abcdef',
        label: 'p-Qq00',
        reason: 'It came and went every minute',
        by: 'otto',
        at: '2026-11-30T09:00:00Z',
        until: '2026-12-01T09:00:00Z',
      },
    ],
    quarantines: [{ key: 'address 198.51.100.7', until: '2026-11-30T18:00:00Z' }],
  };
}

/** What is asked under /admin/settings, /admin/bans and /admin/quarantines; undefined for other paths. */
export async function answerGovern(
  of: { settings: Settings; bans: BansView },
  method: string,
  { pathname }: URL,
  body: Record<string, unknown> | undefined,
): Promise<{ status: number; answer: BansView | SettingsView | object } | undefined> {
  if (pathname === '/admin/settings') {
    if (method === 'GET') return { status: 200, answer: of.settings.view(true) };
    try {
      await of.settings.change(body, 'otto');
      return { status: 200, answer: of.settings.view(true) };
    } catch (error) {
      return { status: 400, answer: { error: { message: (error as Error).message } } };
    }
  }
  const [, list, key] = /^\/admin\/(bans|quarantines)\/?(.*)$/.exec(pathname) ?? [];
  if (list === undefined) return undefined;
  if (method === 'DELETE' && list === 'bans') of.bans.bans = of.bans.bans.filter(({ id }) => String(id) !== key);
  if (method === 'DELETE' && list === 'quarantines') of.bans.quarantines = [];
  if (method === 'POST') {
    const { network, donor, reason = '' } = body as Record<string, string | undefined>;
    if (network !== undefined && !/^[\d./]+$/.test(network))
      return { status: 400, answer: { error: { message: `"${network}" is no network.` } } };
    const subject = donor === undefined ? `network ${network}` : `donor ${donor}`;
    const made = { id: 8, kind: 'ban', subject, label: '', reason, by: 'otto', at: '2026-11-30T12:00:00Z' } as const;
    of.bans.bans.unshift({ ...made, until: null });
  }
  return { status: 200, answer: of.bans };
}
