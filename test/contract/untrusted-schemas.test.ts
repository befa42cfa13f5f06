import * as protocol from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { chatRequestSchema } from '../../coordinator/src/http/requests/chat-schema.ts';
import { completionRequestSchema } from '../../coordinator/src/http/requests/completion-schema.ts';
import { countTokensRequestSchema, messagesRequestSchema } from '../../coordinator/src/http/messages/schema.ts';
import { inputTokensRequestSchema, responsesRequestSchema } from '../../coordinator/src/http/responses/schema.ts';
import { detokenizeRequestSchema, tokenizeRequestSchema } from '../../coordinator/src/http/tokenize.ts';

/** All schemas of what donors, developers and consoles send. */
const SCHEMAS: Record<string, z.ZodType> = {
  chat: chatRequestSchema,
  completion: completionRequestSchema,
  messages: messagesRequestSchema,
  countTokens: countTokensRequestSchema,
  responses: responsesRequestSchema,
  inputTokens: inputTokensRequestSchema,
  tokenize: tokenizeRequestSchema,
  detokenize: detokenizeRequestSchema,
  hello: protocol.helloSchema,
  signal: protocol.signalSchema,
  progress: protocol.progressSchema,
  ready: protocol.readySchema,
  trouble: protocol.troubleSchema,
  fetched: protocol.fetchedSchema,
  seek: protocol.seekSchema,
  tabSignal: protocol.tabSignalSchema,
  adapted: protocol.adaptedSchema,
  guestRefused: protocol.guestRefusedSchema,
  intent: protocol.intentSchema,
  noPath: protocol.noPathSchema,
  command: protocol.commandSchema,
};

type Described = z.ZodType & { def: z.core.$ZodTypes['_zod']['def'] };

/** Everything in a schema, by path. Fails for kinds of schemas that it does not know, which may hold others. */
function* partsOf(schema: z.core.$ZodType, path: string): Iterable<[path: string, schema: Described]> {
  const { def } = schema as Described;
  yield [path, schema as Described];
  switch (def.type) {
    case 'object':
      for (const [key, value] of Object.entries(def.shape)) yield* partsOf(value, `${path}.${key}`);
      break;
    case 'array':
      yield* partsOf(def.element, `${path}[]`);
      break;
    case 'union':
      for (const option of def.options) yield* partsOf(option, path);
      break;
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
      yield* partsOf(def.innerType, path);
      break;
    case 'string':
    case 'number':
    case 'boolean':
    case 'enum':
    case 'literal':
    case 'unknown':
      break;
    default:
      throw new Error(`${path}: teach this test whether a stranger can make a z.${def.type} slow`);
  }
}

describe('a schema of what strangers send', () => {
  it.each(Object.entries(SCHEMAS))('describes few faults, however many there are (%s)', (name, schema) => {
    const arrays = [...partsOf(schema, name)].filter(([, part]) => part.def.type === 'array');
    // z.array describes the faults of all elements.
    expect(arrays.filter(([, array]) => !protocol.isList(array)).map(([path]) => path)).toEqual([]);
  });

  it('has lists: the test above looks at them', () => {
    const paths = Object.entries(SCHEMAS).flatMap(([name, schema]) => [...partsOf(schema, name)].map(([path]) => path));
    expect(paths).toEqual(
      expect.arrayContaining([
        'chat.messages[].content[].text',
        'completion.prompt[][]',
        'messages.messages[].content[].content[].text',
        'responses.input[].content[].text',
        'detokenize.tokens[]',
        'hello.kept[]',
      ]),
    );
  });
});
