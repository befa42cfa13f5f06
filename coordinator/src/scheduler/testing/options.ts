import { type ForwardEngine, moeLayers } from '@shoal/model';
import { defaultConfig } from '../../config.ts';
import type { SchedulerLimits, SchedulerSpeculationOptions } from '../scheduler.ts';

/** The limits of a default configuration, except for `overrides`. */
export function testLimits(overrides: Partial<SchedulerLimits> = {}): SchedulerLimits {
  const { maxBatch, maxQueue, promptLaps, deviceLimit } = defaultConfig();
  return { maxBatch, maxQueue, promptLaps, deviceLimit, microBatches: 'auto', ...overrides };
}

/** Drafts of the default configuration with local MTP experts, except for `overrides`. */
export function testSpeculation(overrides: Partial<SchedulerSpeculationOptions> = {}): SchedulerSpeculationOptions {
  const { speculate, maxDrafts } = defaultConfig();
  return { mode: speculate, maxDrafts, hasMtpExperts: true, lapsPerDraft: 0, ...overrides };
}

/** Laps of a pass if no layer is local. */
export const lapsOf = ({ config }: Pick<ForwardEngine, 'config'>): number => moeLayers(config).length;

/** One token a pass, so that passes can be counted. */
export const NO_DRAFTS = testSpeculation({ mode: 'off' });
