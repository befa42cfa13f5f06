import type { Config } from './config.ts';
import type { PackedModel } from '@shoal/weights/node';
import type { WeightsHealth } from './local-experts/weights-health.ts';
import type { ForwardEngine, ModelConfig } from '@shoal/model';
import type { DraftEngine } from './scheduler/speculation/drafter.ts';
import type { LocalLayerChoice } from './local-experts/choose-layers.ts';
import type { LocalExpertThreads } from './local-experts/local-experts.ts';
import type { EventLog } from './base/event-log.ts';
import type { Settings } from './settings/index.ts';
import type { Timeline } from './timeline/timeline.ts';

/** What is loaded before any part of the swarm starts. */
export interface Loaded {
  config: Config;
  packed: PackedModel;
  health: WeightsHealth;
  model: ModelConfig;
  forward: ForwardEngine;
  drafter: DraftEngine | undefined;
  localLayers: LocalLayerChoice;
  localExperts: LocalExpertThreads;
  events: EventLog;
  settings: Settings;
  timeline: Timeline | undefined;
}
