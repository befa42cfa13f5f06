import { Counter, type Registry } from 'prom-client';
import { type Access, REFUSALS } from './access.ts';

/** Who was turned away, by which rule. */
export function registerAccessMetrics(registry: Registry, access: Access): void {
  const refused = new Counter({
    name: 'shoal_access_refusals_total',
    help: 'Connections, sign-ins, donors, requests and shards that a rule of access turned away.',
    labelNames: ['what'] as const,
    registers: [registry],
    collect() {
      refused.reset();
      for (const what of REFUSALS) refused.inc({ what }, access.refusals[what]);
    },
  });
}
