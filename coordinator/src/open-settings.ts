import type { Access } from './access/access.ts';
import type { Config } from './config.ts';
import type { Database } from './database/index.ts';
import type { Scheduler } from './scheduler/scheduler.ts';
import { Settings, StoredSettings } from './settings/index.ts';
import type { Swarm } from './swarm/swarm.ts';
import type { Trust } from './trust/trust.ts';
import type { ModelConfig } from '@shoal/model';

/** The settings of the console, whose defaults are what the options say. Rejects where the database does not answer. */
export async function openSettings(
  { replicas, deviceLimit }: Pick<Config, 'replicas' | 'deviceLimit'>,
  database: Database | undefined,
): Promise<{ settings: Settings; close(): Promise<void> }> {
  const settings = new Settings({ replicas, deviceLimit });
  const stored = database && (await StoredSettings.open(database, settings));
  return { settings, close: async () => stored?.close() };
}

interface Parts {
  settings: Settings;
  scheduler: Pick<Scheduler, 'limits'>;
  swarm: Pick<Swarm, 'planAgain'>;
  trust: Pick<Trust, 'leastAuditShare'>;
  /** Of the model. */
  config: Pick<ModelConfig, 'encoder' | 'seq2seq'>;
}

/** Lets settings act on the coordinator's parts, now and whenever they change. */
export function applySettings({ settings, scheduler, swarm, trust, config }: Parts): void {
  if (config.seq2seq || config.encoder)
    settings.lock('deviceLimit', 'a device limit is for models that have a decoder only');
  else settings.follow('deviceLimit', (limit) => (scheduler.limits.deviceLimit = limit));
  settings.follow('auditShare', (share) => (trust.leastAuditShare = share));
  settings.on('changed', (name) => {
    if (name === 'replicas') swarm.planAgain();
  });
}

/** `inviteOnly` is as the rules of access say, unless it is set. */
export function applyInviteOnly(settings: Settings, access: Access): void {
  settings.useDefault('inviteOnly', 'the rules of access', () => access.statedInviteOnly);
  const apply = (): void => access.requireInvitation(settings.chosen('inviteOnly'));
  settings.on('view', apply);
  access.events.on('change', () => settings.refresh());
  apply();
}
