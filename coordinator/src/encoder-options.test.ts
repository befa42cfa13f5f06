import type { EncoderConfig } from '@shoal/model';
import { expect, it } from 'vitest';
import { checkOptionsFor } from './encoder-options.ts';

const NONE = { adapters: new Map<string, string>(), adapterRoot: undefined, drafter: undefined, draftModel: undefined };
const encoder = {} as EncoderConfig;

it.each([
  [{ adapters: new Map([['style', 'folder']]) }, '--adapter is'],
  [{ adapterRoot: 'folder' }, '--adapter-dir is'],
  [{ drafter: 'folder' }, '--drafter is'],
  [{ draftModel: 'folder' }, '--draft-model is'],
])('an encoder takes no option of models that make text (%o)', (option, message) => {
  expect(() => checkOptionsFor({ encoder }, { ...NONE, ...option })).toThrow(message);
  expect(() => checkOptionsFor({}, { ...NONE, ...option })).not.toThrow();
  expect(() => checkOptionsFor({ encoder }, NONE)).not.toThrow();
});
