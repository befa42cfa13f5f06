import type { ExpertDispatch, ForwardEngine } from '@shoal/model';
import { UsageError } from '../../base/usage-error.ts';
import type { Config } from '../../config.ts';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { DraftEngine } from './drafter.ts';
import { MtpEngine } from './mtp-engine.ts';

export interface EngineChoice {
  forward: ForwardEngine;
  experts: { batch(options?: BatchOptions): ExpertDispatch };
  mode: Config['speculate'];
  /** Whether the MTP module's experts are held anywhere. */
  hasMtpExperts: boolean;
  /** Laps of a call of the MTP module: 1 if tabs hold its experts, else 0. */
  lapsPerDraft: number;
  /** Drafts in place of the MTP module. */
  engine?: DraftEngine | undefined;
}

/** What drafts beside the texts: undefined where nothing does. Throws a UsageError where the mode asks for what is not there. */
export function chooseEngine(options: EngineChoice): DraftEngine | undefined {
  const { forward, mode, hasMtpExperts, engine } = options;
  if (mode !== 'auto' && mode !== 'mtp') return undefined;
  if (engine && mode === 'auto') return engine;
  if (forward.config.numNextnPredictLayers > 0 && hasMtpExperts) return new MtpEngine(options);
  if (mode === 'auto') return undefined;
  const lacks = hasMtpExperts ? 'the model has no MTP module' : '--mtp-experts off leaves it without experts';
  throw new UsageError(`--speculate mtp: ${lacks}; use auto, lookup or off`);
}
