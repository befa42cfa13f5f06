import type { Access } from './access/access.ts';
import { Bans, StoredBans } from './bans/index.ts';
import type { Config } from './config.ts';
import type { Database } from './database/index.ts';
import type { Scheduler } from './scheduler/scheduler.ts';
import { Settings, StoredSettings } from './settings/index.ts';
import type { Swarm } from './swarm/swarm.ts';
import { type SentAway, type SentAwayTab, sendAway } from './swarm/sent-away.ts';
import type { Quarantine } from './trust/quarantine.ts';
import type { Trust } from './trust/trust.ts';
import type { ModelConfig } from '@shoal/model';

/** What operators govern by at the console. */
export interface Government {
  settings: Settings;
  bans: Bans;
  close(): Promise<void>;
}

/**
 * Settings, whose defaults are what the options say, and bans, as the database has them. Rejects where it does not answer.
 * Quarantines that an operator ends are forgiven in `quarantine`.
 */
export async function openGovernment(
  {
    replicas,
    deviceLimit,
    embedSites,
    alertWebhook,
  }: Pick<Config, 'replicas' | 'deviceLimit' | 'embedSites' | 'alertWebhook'>,
  database: Database | undefined,
  quarantine: Pick<Quarantine, 'lift'>,
): Promise<Government> {
  const settings = new Settings({
    replicas,
    deviceLimit,
    embedSites,
    ...(alertWebhook && { alertWebhook: alertWebhook.href }),
  });
  const bans = new Bans();
  bans.on('lifted', ({ key, atMs }) => quarantine.lift(key, atMs));
  const stored = database && [await StoredSettings.open(database, settings), await StoredBans.open(database, bans)];
  return {
    settings,
    bans,
    async close() {
      for (const one of stored ?? []) await one.close();
    },
  };
}

/** Why operators send this tab away; undefined where it may stay. */
export function whySentAway(tab: SentAwayTab, settings: Settings, bans: Bans): SentAway | undefined {
  const ban = bans.of(tab);
  if (ban) return { code: ban.kind === 'ban' ? 'removed' : 'drained', reason: ban.reason, untilMs: ban.untilMs };
  return settings.get('drainAll') ? { code: 'drained', reason: '', untilMs: Number.POSITIVE_INFINITY } : undefined;
}

interface Parts {
  settings: Settings;
  scheduler: Pick<Scheduler, 'limits'>;
  bans: Bans;
  swarm: Pick<Swarm, 'planAgain' | 'peers' | 'drain' | 'dismiss'>;
  trust: Pick<Trust, 'leastAuditShare'>;
  /** Of the model. */
  config: Pick<ModelConfig, 'encoder' | 'seq2seq'>;
}

/** Lets settings act on the coordinator's parts, now and whenever they change. */
export function applySettings({ settings, bans, scheduler, swarm, trust, config }: Parts): void {
  if (config.seq2seq || config.encoder)
    settings.lock('deviceLimit', 'a device limit is for models that have a decoder only');
  else settings.follow('deviceLimit', (limit) => (scheduler.limits.deviceLimit = limit));
  settings.follow('auditShare', (share) => (trust.leastAuditShare = share));
  const sendUnwantedAway = (): void => sendAway(swarm, (tab) => whySentAway(tab, settings, bans));
  settings.on('changed', (name) => {
    if (name === 'replicas') swarm.planAgain();
    if (name === 'drainAll') sendUnwantedAway();
  });
  bans.on('changed', sendUnwantedAway);
}

/** `inviteOnly` is as the rules of access say, unless it is set. */
export function applyInviteOnly(settings: Settings, access: Access): void {
  settings.useDefault('inviteOnly', 'the rules of access', () => access.statedInviteOnly);
  const apply = (): void => access.requireInvitation(settings.chosen('inviteOnly'));
  settings.on('view', apply);
  access.events.on('change', () => settings.refresh());
  apply();
}
