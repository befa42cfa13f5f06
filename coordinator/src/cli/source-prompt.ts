import type { ModelConfig, Tokenizer } from '@shoal/model';
import { UsageError } from '../base/usage-error.ts';
import { sourceModel } from '../http/source-model.ts';

export interface Languages {
  sourceLanguage: string | undefined;
  targetLanguage: string | undefined;
}

/** A source's tokens, and those that its answer begins with. */
export interface SourcePrompt {
  ids: number[];
  prefix: readonly number[];
}

/**
 * What an encoder–decoder is asked for a text, or for tokens, which are taken as they are. In a model with languages a text stands
 * between its language and the end token, as NLLB's tokenizer writes it, and the answer begins with the other language. Throws a
 * UsageError that names the option.
 */
export function sourcePrompt(
  model: { config: ModelConfig; tokenizer: Tokenizer },
  given: { text: string } | { ids: readonly number[] },
  { sourceLanguage, targetLanguage }: Languages,
): SourcePrompt {
  const { targetPrefix, languages, endOfSource } = sourceModel(model)!;
  const { tokenizer } = model;
  const hasLanguages = languages.size > 0;
  if (!hasLanguages && (sourceLanguage ?? targetLanguage) !== undefined) {
    throw new UsageError('--source-language and --target-language: this model has no languages to choose from');
  }
  const tokenOf = (option: string, code: string | undefined): number => {
    const token = code === undefined ? undefined : languages.get(code);
    if (token !== undefined) return token;
    const known = [...languages.keys()].toSorted().join(', ');
    throw new UsageError(
      `${option} ${code === undefined ? 'is missing' : `${code} is not known`}; the model has ${known}`,
    );
  };
  const prefix = hasLanguages ? [targetPrefix[0]!, tokenOf('--target-language', targetLanguage)] : targetPrefix;
  if ('ids' in given) return { ids: [...given.ids], prefix };
  if (!hasLanguages) return { ids: tokenizer.encodeWhole(given.text), prefix };
  return { ids: [tokenOf('--source-language', sourceLanguage), ...tokenizer.encode(given.text), endOfSource], prefix };
}
