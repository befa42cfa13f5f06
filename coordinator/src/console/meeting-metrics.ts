import { TAB_FAULTS } from '@shoal/protocol';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { TabMeetings } from '../swarm/tab-meetings.ts';

/** Metrics of the exchange of shards between tabs. */
export function registerMeetingMetrics(registry: Registry, meetings: TabMeetings): void {
  const tabs = new Gauge({
    name: 'shoal_tab_exchange_tabs',
    help: 'Tabs that exchange shards with others.',
    registers: [],
    collect() {
      this.set(meetings.tracker.members);
    },
  });
  const counted = new Map<string, number>();
  const faults = new Counter({
    name: 'shoal_tab_exchange_faults_total',
    help: 'What tabs say of others that did not give them a shard.',
    labelNames: ['fault'],
    registers: [],
    collect() {
      for (const fault of TAB_FAULTS) {
        this.inc({ fault }, meetings.faults[fault] - (counted.get(fault) ?? 0));
        counted.set(fault, meetings.faults[fault]);
      }
    },
  });
  registry.registerMetric(tabs);
  registry.registerMetric(faults);
}
