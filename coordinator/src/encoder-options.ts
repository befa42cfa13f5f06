import type { ModelConfig } from '@shoal/model';
import { UsageError } from './base/usage-error.ts';
import type { Config } from './config.ts';

type TextOptions = Pick<Config, 'adapters' | 'adapterRoot' | 'drafter' | 'draftModel' | 'deviceLimit'>;

/**
 * Throws a UsageError that names the option, if the model is an encoder or an encoder–decoder and the option is for models that only
 * have a decoder.
 */
export function checkOptionsFor(
  { encoder, seq2seq }: Pick<ModelConfig, 'encoder' | 'seq2seq'>,
  options: TextOptions,
): void {
  if (!encoder && !seq2seq) return;
  const given = {
    '--adapter': options.adapters.size > 0,
    '--adapter-dir': options.adapterRoot !== undefined,
    '--drafter': options.drafter !== undefined,
    '--draft-model': options.draftModel !== undefined,
    // Its gates are given whole sequences, whose rows share an expert's places.
    '--device-limit': seq2seq !== undefined && options.deviceLimit > 0,
  };
  for (const [flag, isGiven] of Object.entries(given)) {
    const [others, kind] = seq2seq ? ['have a decoder only', 'encoder–decoder'] : ['make text', 'encoder'];
    if (isGiven) throw new UsageError(`${flag} is for models that ${others}, and this one is an ${kind}: leave it out`);
  }
}
