import { type AlertsView, type AttentionItem, SEVERITIES } from '@shoal/protocol';
import type { Registry } from 'prom-client';
import { registerByLabel } from './metrics.ts';

export interface WatchSources {
  attention: () => readonly AttentionItem[];
  alerts: () => Pick<AlertsView, 'delivered' | 'failed'>;
}

/** Registers the metrics of what needs attention, and of what was told of it. */
export function registerWatchMetrics(registry: Registry, { attention, alerts }: WatchSources): void {
  registerByLabel(registry, 'shoal_attention_items', [
    'What needs attention, here or at other coordinators of the same swarm, by severity.',
    'severity',
    () => {
      const items = attention();
      return Object.fromEntries(
        SEVERITIES.map((one) => [one, items.filter(({ severity }) => severity === one).length]),
      );
    },
  ]);
  registerByLabel(registry, 'shoal_alerts_total', [
    'Messages to the webhook, by what came of them; those that are tried again are not counted yet.',
    'outcome',
    () => {
      const { delivered, failed } = alerts();
      return { delivered, failed };
    },
  ]);
}
