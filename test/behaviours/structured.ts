import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, isText, matches } from './check.ts';
import { chat } from './servers.ts';

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
/** Small, so that a model which tells stories gets to the end. */
const person = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 8 }, age: { type: 'integer', minimum: 0, maximum: 150 } },
  required: ['name', 'age'],
  additionalProperties: false,
};
const languages = ['Python', 'Java', 'JavaScript', 'C++', 'C#', 'PHP', 'TypeScript', 'Ruby', 'Swift', 'Kotlin'];
/** A schema with a value where a schema must be. */
const invalidSchema = {
  type: 'object',
  properties: { brand: { type: 'string' }, foo: 'bar' },
  required: ['brand'],
};
const BOTH = [
  [CHAT, chat({}), 'chat_completion/test_chat_completion'],
  [COMPLETIONS, { prompt: 'x' }, 'completion/test_completion'],
] as const;
const invalidGrammar = 'root ::= select_statementinvalidsyntax\nselect_statement ::= "SELECT"';
const long = { max_tokens: 200, temperature: 1, seed: 1 };

function isPerson(text: string): void {
  const value = JSON.parse(text);
  assert.deepEqual(Object.keys(value).sort(), ['age', 'name']);
  assert.ok(typeof value.name === 'string' && value.name.length <= 8);
  assert.ok(Number.isInteger(value.age) && value.age >= 0 && value.age <= 150);
}

/** Answers that must fit a schema, a pattern or a grammar. */
export const structured: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_chat_completion', 'test_completion_with_response_format'),
      vllm('chat_completion/test_chat', 'test_response_format_json_object'),
    ],
    says: '`response_format` `json_object` gives a JSON object.',
    run: async ({ tiny }) => {
      // What it writes seldom ends within the context.
      const { message } = await tiny.chat({ response_format: { type: 'json_object' }, max_tokens: 48 });
      assert.match(message.content, /^\s*\{/);
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_completion_with_response_format')],
    says: '`response_format` `json_object` takes a schema.',
    run: async ({ tiny }) => {
      const { message } = await tiny.chat({ response_format: { type: 'json_object', schema: { const: '42' } } });
      assert.equal(JSON.parse(message.content), '42');
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_completion_with_response_format'),
      vllm('chat_completion/test_chat', 'test_response_format_json_schema'),
    ],
    says: '`response_format` `json_schema` gives JSON that fits the schema.',
    run: async ({ tiny }) => {
      const format = (schema: object) => ({ type: 'json_schema', json_schema: { name: 'x', schema } });
      const fixed = await tiny.chat({ response_format: format({ const: 'foooooo' }) });
      assert.equal(fixed.finish_reason, 'stop');
      assert.equal(JSON.parse(fixed.message.content), 'foooooo');
      isPerson((await tiny.chat({ response_format: format(person), ...long })).message.content);
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_completion_with_response_format')],
    says: 'A schema may list the items of an array by position in `items`.',
    run: async ({ tiny }) => {
      const schema = { items: [{ type: 'integer' }] };
      const { message } = await tiny.chat({ response_format: { type: 'json_object', schema }, max_tokens: 48 });
      assert.match(message.content, /^\s*\S/);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_response_format_text')],
    says: '`response_format` `text` changes nothing.',
    run: async ({ tiny }) => {
      const greedy = { temperature: 0, max_tokens: 8 };
      const { message } = await tiny.chat({ ...greedy, response_format: { type: 'text' } });
      assert.equal(message.content, (await tiny.chat(greedy)).message.content);
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_completion_with_response_format')],
    says: 'An unknown type of format is a 400.',
    run: async ({ tiny }) => void (await tiny.refused(CHAT, chat({ response_format: { type: 'sound' } }))),
  },
  ...[123, { type: 123 }, { type: 'hiccup' }].map((schema): Behaviour => ({
    askedBy: [llama('test_chat_completion', 'test_completion_with_response_format')],
    says: `The schema \`${JSON.stringify(schema)}\` is a 400.`,
    run: async ({ tiny }) => {
      await tiny.refused(CHAT, chat({ response_format: { type: 'json_object', schema } }));
    },
  })),
  ...BOTH.map(([path, body, file]): Behaviour => ({
    askedBy: [vllm(file, 'test_invalid_json_schema')],
    says: `A schema with a text where a schema must be is a 400 (\`${path}\`).`,
    run: async ({ tiny }) => void (await tiny.refused(path, { ...body, structured_outputs: { json: invalidSchema } })),
  })),
  {
    askedBy: [
      vllm('chat_completion/test_chat_error', 'test_json_schema_response_format_missing_schema'),
      vllm('completion/test_completion_error', 'test_json_schema_response_format_missing_schema'),
    ],
    says: '`json_schema` without a schema is a 400 that names it.',
    run: async ({ tiny }) => {
      const error = await tiny.refused(CHAT, chat({ response_format: { type: 'json_schema' } }));
      assert.match(error.message, /json_schema/);
    },
  },
  {
    askedBy: [vllm('completion/test_completion_error', 'test_json_schema_response_format_missing_schema')],
    says: 'Completions take `response_format` too.',
    run: async ({ tiny }) => {
      const response_format = { type: 'json_schema', json_schema: { name: 'x', schema: { const: 'ok' } } };
      assert.equal(JSON.parse((await tiny.complete({ response_format })).text), 'ok');
      await tiny.refused(COMPLETIONS, { prompt: 'x', response_format: { type: 'json_schema' } });
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_completion_with_json_schema')],
    says: 'llama.cpp’s `json_schema` gives JSON that fits the schema.',
    run: async ({ tiny }) => {
      assert.equal(JSON.parse((await tiny.chat({ json_schema: { const: '42' } })).message.content), '42');
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_completion_with_grammar')],
    says: 'llama.cpp’s `grammar` gives a text of the grammar, with its counts of repetitions.',
    run: async ({ tiny }) => {
      matches(await tiny.chat({ grammar: 'root ::= "a"{5,5}' }), { message: { content: 'aaaaa' } });
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_structured_outputs_choice_chat')],
    says: 'vLLM’s `structured_outputs` with `choice` gives one of the choices.',
    run: async ({ tiny }) => {
      for (const seed of [1, 2]) {
        const { message } = await tiny.chat({ structured_outputs: { choice: languages }, temperature: 0.7, seed });
        assert.ok(languages.includes(message.content), message.content);
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_structured_outputs_json_chat')],
    says: 'vLLM’s `structured_outputs` with `json` gives JSON that fits the schema, also in a longer conversation.',
    run: async ({ tiny }) => {
      const asked = { structured_outputs: { json: person }, ...long };
      const first = (await tiny.chat(asked)).message;
      isPerson(first.content);
      const messages = [{ role: 'user', content: 'A person.' }, first, { role: 'user', content: 'Another.' }];
      isPerson((await tiny.chat({ ...asked, messages })).message.content);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_structured_outputs_regex_chat')],
    says: 'vLLM’s `structured_outputs` with `regex` gives a text of the pattern.',
    run: async ({ tiny }) => {
      const part = '(25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)';
      const regex = `(${part}\\.){3}${part}`;
      const { message } = await tiny.chat({ structured_outputs: { regex }, max_tokens: 40 });
      assert.match(message.content, new RegExp(`^${regex}$`));
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_chat', 'test_structured_outputs_type_error'),
      vllm('tool_use/test_chat_completion_request_validations', 'test_invalid_structured_outputs_type_rejected'),
    ],
    says: 'A pattern that is no string, or `structured_outputs` that are no object, are a 400.',
    run: async ({ tiny }) => {
      await tiny.refused(CHAT, chat({ structured_outputs: { regex: { 1: 'Python', 2: 'C++' } } }));
      await tiny.refused(CHAT, chat({ structured_outputs: 3 }));
    },
  },
  ...BOTH.map(([path, body, file]): Behaviour => ({
    askedBy: [vllm(file, 'test_invalid_regex')],
    says: `A pattern that is none is a 400 (\`${path}\`).`,
    run: async ({ tiny }) => {
      await tiny.refused(path, { ...body, structured_outputs: { regex: '[.*' }, stop: ['\n'] });
    },
  })),
  ...BOTH.map(([path, body, file]): Behaviour => ({
    askedBy: [vllm(file, 'test_invalid_grammar')],
    says: `A grammar with a rule that is not there is a 400 (\`${path}\`).`,
    run: async ({ tiny }) => {
      await tiny.refused(path, { ...body, structured_outputs: { grammar: invalidGrammar } });
    },
  })),
  {
    askedBy: [vllm('chat_completion/test_chat_completion', 'test_empty_grammar')],
    says: 'An empty grammar in `structured_outputs` is a 400.',
    run: async ({ tiny }) => void (await tiny.refused(CHAT, chat({ structured_outputs: { grammar: '' } }))),
  },
  {
    askedBy: [vllm('tool_use/test_chat_completion_request_validations', 'test_multiple_structured_outputs_rejected')],
    says: 'Two kinds of format in one request are a 400.',
    run: async ({ tiny }) => {
      await tiny.refused(CHAT, chat({ structured_outputs: { json: { type: 'object' }, regex: '.*' } }));
    },
  },
  {
    askedBy: [
      vllm(
        'tool_use/test_chat_completion_request_validations',
        'test_structured_outputs_with_auto_tool_choice_allowed',
      ),
      vllm('chat_completion/test_tool_choice_null', 'test_null_tool_choice_does_not_conflict_with_structured_outputs'),
    ],
    says: 'A format goes together with tools that may be called, and with `tool_choice: null`.',
    run: async ({ scripted }) => {
      const server = await scripted('{}');
      const tools = [{ type: 'function', function: { name: 'weather', parameters: person } }];
      const structured_outputs = { json: { type: 'object' } };
      for (const more of [{ tools, tool_choice: 'auto' }, { tool_choice: null }]) {
        isText((await server.chat({ structured_outputs, ...more })).message.content);
      }
      assert.equal(server.compiled.length, 2);
    },
  },
  {
    askedBy: [
      vllm(
        'tool_use/test_chat_completion_request_validations',
        'test_structured_outputs_with_named_tool_choice_rejected',
      ),
    ],
    says: 'A format together with a call that is required is a 400.',
    differs: 'The call is made, and the format would be that of a text beside it: OpenAI’s API takes both.',
    run: async ({ scripted }) => {
      const server = await scripted('{}');
      const tools = [{ type: 'function', function: { name: 'weather', parameters: person } }];
      const tool_choice = { type: 'function', function: { name: 'weather' } };
      await server.refused(CHAT, chat({ tools, tool_choice, structured_outputs: { json: { type: 'object' } } }));
    },
  },
];
