import type { ModelConfig } from '@shoal/model';
import { UsageError } from './base/usage-error.ts';
import type { Config } from './config.ts';

type TextOptions = Pick<Config, 'adapters' | 'adapterRoot' | 'drafter' | 'draftModel'>;

/** Throws a UsageError that names the option, if the model is an encoder and the option is for models that make text. */
export function checkOptionsFor({ encoder }: Pick<ModelConfig, 'encoder'>, options: TextOptions): void {
  if (!encoder) return;
  const given = {
    '--adapter': options.adapters.size > 0,
    '--adapter-dir': options.adapterRoot !== undefined,
    '--drafter': options.drafter !== undefined,
    '--draft-model': options.draftModel !== undefined,
  };
  for (const [flag, isGiven] of Object.entries(given)) {
    if (isGiven) throw new UsageError(`${flag} is for models that make text, and this one is an encoder: leave it out`);
  }
}
