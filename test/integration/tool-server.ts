import { chooseConvention } from '../../coordinator/src/conventions/index.ts';
import type { Grammar, GrammarError, GrammarSource } from '../../coordinator/src/grammar/index.ts';
import { byteCodec } from '../../coordinator/src/http/testing/byte-codec.ts';
import type { EncodeTask } from '../../coordinator/src/text/encode-task.ts';
import { says, start } from './openai-client.ts';

export const convention = chooseConvention({ template: '<tool_call>{"name": } <think> </think>' });
export const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
export const tool = (name: string) => ({ type: 'function' as const, function: { name, description: 'd', parameters } });
export const tools = [tool('weather'), tool('time')];
export const messages = [{ role: 'user' as const, content: 'Weather in Oslo?' }];
export const CALLS =
  'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n' +
  '<tool_call>\n{"name": "time", "arguments": {"city": "Öland"}}\n</tool_call>';
export const functions = [
  { name: 'weather', arguments: '{"city": "Oslo"}' },
  { name: 'time', arguments: '{"city": "Öland"}' },
];

/** What was asked to be rendered, and what was compiled. */
export const rendered: EncodeTask[] = [];
export const compiled: GrammarSource[] = [];

/** What is compiled for a model that may reason first. */
export const afterReasoning = (source: GrammarSource): GrammarSource => ({
  kind: 'after',
  parts: convention.optionalReasoning(''),
  source,
});

/** Starts the server for a model with the Hermes convention that says `text`; grammars are refused with `refuse`. */
export const begin = (text: string, refuse?: GrammarError, at: 'compile' | 'open' = 'compile') => {
  rendered.length = 0;
  compiled.length = 0;
  const codec = byteCodec();
  const constraint = { allowedDrafts: async () => 0, masks: async () => [], accept: () => {}, close: () => {} };
  return start(() => ({ ids: says(text) }), 4096, {
    convention,
    codec: { ...codec, encode: (task, client) => (rendered.push(task), codec.encode(task, client)) },
    grammars: {
      compile: async (source) => {
        compiled.push(source);
        if (refuse && at === 'compile') throw refuse;
        const open = () => {
          if (refuse) throw refuse;
          return constraint;
        };
        return { open } as unknown as Grammar;
      },
    },
  });
};
