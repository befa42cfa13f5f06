import type { EncoderConfig, Seq2SeqConfig } from '@shoal/model';
import { expect, it } from 'vitest';
import { checkOptionsFor } from './encoder-options.ts';

const NONE = {
  adapters: new Map<string, string>(),
  adapterRoot: undefined,
  drafter: undefined,
  draftModel: undefined,
  deviceLimit: 0,
};
const encoder = {} as EncoderConfig;
const seq2seq = {} as Seq2SeqConfig;

it.each([
  [{ adapters: new Map([['style', 'folder']]) }, '--adapter is'],
  [{ adapterRoot: 'folder' }, '--adapter-dir is'],
  [{ drafter: 'folder' }, '--drafter is'],
  [{ draftModel: 'folder' }, '--draft-model is'],
])('an encoder takes no option of models that make text (%o)', (option, message) => {
  expect(() => checkOptionsFor({ encoder }, { ...NONE, ...option })).toThrow(message);
  expect(() => checkOptionsFor({}, { ...NONE, ...option })).not.toThrow();
  expect(() => checkOptionsFor({ encoder }, NONE)).not.toThrow();
  expect(() => checkOptionsFor({ seq2seq }, { ...NONE, ...option })).toThrow(message);
});

it('an encoder–decoder takes no device limit', () => {
  expect(() => checkOptionsFor({ seq2seq }, NONE)).not.toThrow();
  const limited = { ...NONE, deviceLimit: 2 };
  expect(() => checkOptionsFor({ seq2seq }, limited)).toThrow(/--device-limit is .* an encoder–decoder: leave it out/);
  expect(() => checkOptionsFor({}, limited)).not.toThrow();
});
