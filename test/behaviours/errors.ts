import { GenerationError } from '../../coordinator/src/scheduler/generation.ts';
import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, isText, matches } from './check.ts';
import { chat, STORY, type Script } from './servers.ts';

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
const book = [
  { role: 'system', content: 'Book' },
  { role: 'user', content: 'What is the best book' },
];
const tooLong = { messages: Array.from({ length: 130 }, () => book).flat() };
/** Fails instead of the second token. */
const failing: Script = {
  says: () => ({ ids: [97, 98, 99], failAt: { index: 1, error: new GenerationError('internal', 'x') } }),
};

const BOTH = [
  [CHAT, chat({}), 'chat_completion/test_chat_error', 'test_chat_error'],
  [COMPLETIONS, { prompt: 'x' }, 'completion/test_completion_error', 'test_completion_error'],
] as const;

/** Requests that can't be answered. */
export const errors: readonly Behaviour[] = [
  ...[null, 'string', [123], [{}], [{ role: 123 }], [{ role: 'system', content: 123 }], [book[0], {}]].map(
    (messages): Behaviour => ({
      askedBy: [llama('test_chat_completion', 'test_invalid_chat_completion_req')],
      says: `Messages that are \`${JSON.stringify(messages)}\` are a 400 with an error.`,
      run: async ({ tiny }) => isText((await tiny.refused(CHAT, { messages })).message),
    }),
  ),
  {
    askedBy: [llama('test_chat_completion', 'test_invalid_chat_completion_req')],
    says: 'Two messages of the assistant at the end are an error.',
    differs: 'Whether a conversation may have them is up to the model’s template, whose own complaint is a 400.',
    run: async ({ tiny }) => {
      const twice = { role: 'assistant', content: 'test' };
      await tiny.refused(CHAT, { messages: [{ role: 'user', content: 'test' }, twice, twice], max_tokens: 1 });
    },
  },
  ...['this is not valid json{{{', '["not", "an", "object"]', '42', 'null'].map((body): Behaviour => ({
    askedBy: [
      vllm('chat_completion/test_non_object_body_validation', 'test_chat_completion_request_rejects_non_object_body'),
    ],
    says: `The body \`${body}\` is a 400 with an error.`,
    run: async ({ tiny }) => isText((await tiny.refused(CHAT, body)).message),
  })),
  {
    askedBy: [vllm('serve/instrumentator/test_basic', 'test_request_wrong_content_type')],
    says: 'A body of another content type is refused.',
    run: async ({ tiny }) => {
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const { status } = await tiny.send('POST', CHAT, headers, JSON.stringify(chat({})));
      assert.ok(status >= 400 && status < 500);
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_context_size_exceeded'),
      llama('test_chat_completion', 'test_context_size_exceeded_stream'),
      llama('test_completion', 'test_nocache_long_input_prompt'),
      llama('test_ctx_shift', 'test_ctx_shift_disabled_long_prompt'),
    ],
    says: 'A prompt that is longer than the context is a 400 that says so, also where a stream was asked for.',
    run: async ({ tiny }) => {
      for (const stream of [false, true]) {
        const error = await tiny.refused(CHAT, { ...tooLong, stream });
        assert.match(error.message, /context/);
        await tiny.refused(COMPLETIONS, { prompt: STORY.repeat(140), stream });
      }
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_context_size_exceeded'),
      llama('test_chat_completion', 'test_context_size_exceeded_stream'),
    ],
    says: 'Its type is `exceed_context_size_error`, with the counts as fields.',
    differs: 'It has OpenAI’s code, `context_length_exceeded`; the message has the counts.',
    run: async ({ tiny }) => {
      matches(await tiny.refused(CHAT, tooLong), { type: 'exceed_context_size_error', n_ctx: 512 });
    },
  },
  ...(
    [
      [null, vllm('completion/test_prompt_validation', 'test_empty_prompt')],
      [[], vllm('completion/test_empty_prompt_list', 'test_empty_prompt_list_rejected')],
    ] as const
  ).map(([prompt, test]): Behaviour => ({
    askedBy: [test],
    says: `The prompt \`${JSON.stringify(prompt)}\` is a 400 that names it.`,
    run: async ({ tiny }) => {
      matches(await tiny.refused(COMPLETIONS, { prompt, max_tokens: 5 }), { param: 'prompt' });
    },
  })),
  {
    askedBy: [vllm('completion/test_empty_prompt_list', 'test_nonempty_prompt_list_ok')],
    says: 'A list with one prompt is taken.',
    run: async ({ tiny }) => isText((await tiny.complete({ prompt: [STORY] })).text),
  },
  ...(
    [
      [[999_999], vllm('completion/test_prompt_validation', 'test_out_of_vocab_token_ids')],
      [[-1], vllm('completion/test_completion_error', 'test_negative_prompt_token_ids_flat')],
      [[[-1]], vllm('completion/test_completion_error', 'test_negative_prompt_token_ids_nested')],
    ] as const
  ).map(([prompt, test]): Behaviour => ({
    askedBy: [test],
    says: `The prompt \`${JSON.stringify(prompt)}\`, with an id that no token has, is a 400 with an error.`,
    run: async ({ tiny }) => isText((await tiny.refused(COMPLETIONS, { prompt, max_tokens: 5 })).message),
  })),
  ...BOTH.map(([path, body, file, test]): Behaviour => ({
    askedBy: [vllm(file, `${test}_non_stream`)],
    says: `An answer that fails is a 500 with an error (\`${path}\`).`,
    run: async ({ scripted }) => isText((await (await scripted(failing)).refused(path, body, 500)).message),
  })),
  ...BOTH.map(([path, body, file, test]): Behaviour => ({
    askedBy: [vllm(file, `${test}_stream`)],
    says: `A stream that fails has an event with the error after what was generated (\`${path}\`).`,
    run: async ({ scripted }) => {
      const events = await (await scripted(failing)).stream(path, body);
      assert.ok(events.length >= 2);
      assert.ok(events.some(({ data }) => data.error?.message !== undefined));
    },
  })),
  {
    askedBy: [
      vllm('chat_completion/test_chat_error', 'test_chat_error_stream'),
      vllm('completion/test_completion_error', 'test_completion_error_stream'),
    ],
    says: 'After the error the stream ends with `[DONE]`.',
    differs: 'It ends without, so that a program which reads no errors does not take the answer for a whole one.',
    run: async ({ scripted }) => {
      const events = await (await scripted(failing)).stream(CHAT, chat({}));
      assert.equal(events.at(-1)?.data, '[DONE]');
    },
  },
  {
    askedBy: [
      vllm(
        'serve/exception_handling/test_validation_exception_handler',
        'TestValidationErrorParamFallback.test_param_falls_back_to_loc',
      ),
      vllm(
        'serve/exception_handling/test_validation_exception_handler',
        'TestCleanLocForParam.test_strips_internal_markers',
      ),
    ],
    says: 'The error of a missing or wrong field names it in `param`, by its path in the body.',
    run: async ({ tiny }) => {
      matches(await tiny.refused(CHAT, {}), { param: 'messages' });
      matches(await tiny.refused(CHAT, chat({ stop: 5 })), { param: 'stop' });
      const messages = [...book, { role: 'user', content: 5 }];
      matches(await tiny.refused(CHAT, { messages }), { param: 'messages[2].content' });
    },
  },
  {
    askedBy: [
      vllm(
        'serve/exception_handling/test_validation_exception_handler',
        'TestValidationErrorDoesNotLeakServerPaths.test_handler_strips_endpoint_file_context',
      ),
    ],
    says: 'No error tells of the server’s files.',
    run: async ({ tiny }) => {
      const { message } = await tiny.refused(CHAT, { messages: 'not-a-list' });
      assert.doesNotMatch(message, /\/coordinator|\.ts|node_modules/);
    },
  },
  {
    askedBy: [
      vllm(
        'serve/exception_handling/test_validation_exception_handler',
        'TestValidationErrorBodyIsBounded.test_many_errors_are_capped',
      ),
      vllm(
        'serve/exception_handling/test_validation_exception_handler',
        'TestValidationErrorBodyIsBounded.test_container_input_is_described_not_echoed',
      ),
      vllm(
        'serve/exception_handling/test_validation_exception_handler',
        'TestValidationErrorBodyIsBounded.test_long_string_input_is_truncated',
      ),
    ],
    says: 'An error’s message is short, however much is wrong, and does not repeat long values.',
    run: async ({ tiny }) => {
      const wrong = Array.from({ length: 500 }, () => ({ role: 'user', content: [{ type: 'text', text: 1 }] }));
      for (const body of [{ messages: wrong }, chat({ max_completion_tokens: 'A'.repeat(100_000) })]) {
        const error = await tiny.refused(CHAT, body);
        assert.ok(error.message.length <= 500);
        assert.doesNotMatch(error.message, /AAAA/);
      }
    },
  },
];
