import type { ModelConfig } from '@shoal/model';
import type { LocalLayerChoice } from './local-experts/choose-layers.ts';
import type { SchedulerSpeculationOptions } from './scheduler/scheduler.ts';
import { type CoordinatorOptions, UsageError } from './config.ts';
import type { EventLog } from './base/event-log.ts';

/** Who drafts, and what is told of it. Throws a UsageError where the model, or `--mtp-experts`, is not up to what is asked. */
export function speculationOptions(
  { speculate, maxDrafts }: Pick<CoordinatorOptions, 'speculate' | 'maxDrafts'>,
  config: ModelConfig,
  plan: LocalLayerChoice,
  events: EventLog,
): SchedulerSpeculationOptions {
  const hasMtp = config.numNextnPredictLayers > 0;
  const hasMtpExperts = plan.mtp !== 'off';
  if (speculate === 'mtp' && !(hasMtp && hasMtpExperts)) {
    const lacks = hasMtp ? '--mtp-experts off leaves its module without experts' : 'this model has no MTP module';
    throw new UsageError(`--speculate mtp: ${lacks}; take auto, lookup or off`);
  }
  return {
    hasMtpExperts,
    lapsPerDraft: plan.mtp === 'tabs' ? 1 : 0,
    ...(speculate !== undefined && { mode: speculate }),
    ...(maxDrafts !== undefined && { maxDrafts }),
    onFailure: (error) =>
      events.add({ level: 'warning', kind: 'server', text: `Drafting fails, and is done without: ${error}` }),
  };
}
