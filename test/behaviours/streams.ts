import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, distinct, isText, matches, type Json } from './check.ts';
import { chat, type Client, STORY } from './servers.ts';

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
const greedy = { temperature: 0, max_tokens: 10, ignore_eos: true };
const story = { prompt: STORY, ...greedy };
const BOTH = [
  [CHAT, chat(greedy), vllm('chat_completion/test_chat', 'test_chat_completion_stream_options')],
  [COMPLETIONS, story, vllm('completion/test_completion', 'test_completion_stream_options')],
] as const;

function adds(usage: Json, completionTokens?: number): void {
  assert.ok(usage.prompt_tokens > 0);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  if (completionTokens !== undefined) assert.equal(usage.completion_tokens, completionTokens);
}

const withOptions = (client: Client, path: string, body: object, stream_options: object) =>
  client.chunks(path, { ...body, stream_options });

/** What a stream of one endpoint tells of its usage. */
function usageOf([path, body, test]: (typeof BOTH)[number]): Behaviour[] {
  const askedBy = [test];
  return [
    {
      askedBy,
      says: `Without \`include_usage\` no chunk has usage, whatever \`continuous_usage_stats\` is (\`${path}\`).`,
      run: async ({ tiny }) => {
        for (const options of [
          { include_usage: false },
          { include_usage: false, continuous_usage_stats: false },
          { include_usage: false, continuous_usage_stats: true },
          {},
        ]) {
          for (const { usage } of await withOptions(tiny, path, body, options)) assert.equal(usage ?? null, null);
        }
      },
    },
    {
      askedBy: [...askedBy, ...(path === CHAT ? [llama('test_chat_completion', 'test_chat_completion_stream')] : [])],
      says: `With \`include_usage\` the usage comes in one chunk without choices, after all others (\`${path}\`).`,
      run: async ({ tiny }) => {
        const chunks = await withOptions(tiny, path, body, { include_usage: true, continuous_usage_stats: false });
        const last = chunks.pop();
        matches(last, { choices: [] });
        adds(last.usage, 10);
        for (const { usage } of chunks) assert.equal(usage, null);
        assert.equal(chunks.at(-1).choices[0].finish_reason, 'length');
      },
    },
    {
      askedBy,
      says: `With \`continuous_usage_stats\` too every chunk has the usage so far (\`${path}\`).`,
      run: async ({ tiny }) => {
        const options = { include_usage: true, continuous_usage_stats: true };
        const counts: number[] = [];
        for (const { usage } of await withOptions(tiny, path, body, options)) {
          adds(usage);
          counts.push(usage.completion_tokens);
        }
        assert.deepEqual(
          counts,
          counts.toSorted((a, b) => a - b),
        );
        assert.equal(counts.at(-1), 10);
      },
    },
  ];
}

/** Streams, and the usage that they report. */
export const streams: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completion_stream'),
      llama('test_chat_completion', 'test_chat_completion_with_timings_per_token'),
      vllm('tool_use/test_chat_completions', 'test_chat_completion_without_tools'),
    ],
    says: 'The role comes once, in the first chunk; all chunks have the same id, the model and the fingerprint.',
    run: async ({ tiny }) => {
      const chunks = await tiny.chunks(CHAT, chat(greedy));
      assert.equal(distinct(chunks.map(({ id, model, system_fingerprint: mark }) => [id, model, mark])), 1);
      matches(chunks[0], { model: 'tiny-stories', object: 'chat.completion.chunk' });
      assert.equal(chunks[0].choices[0].delta.role, 'assistant');
      for (const { choices } of chunks.slice(1)) assert.ok(!('role' in choices[0].delta));
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completion_stream'),
      llama('test_chat_completion', 'test_logprobs_stream'),
    ],
    says: 'The first chunk’s content is `null`.',
    differs: 'It is an empty text, as in OpenAI’s API.',
    run: async ({ tiny }) => {
      assert.equal((await tiny.chunks(CHAT, chat(greedy)))[0].choices[0].delta.content, null);
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completion_stream'),
      vllm('chat_completion/test_chat', 'test_chat_streaming'),
      vllm('completion/test_completion', 'test_completion_streaming'),
      llama('test_completion', 'test_completion_stream_vs_non_stream'),
    ],
    says: 'The pieces make the whole answer’s text, and only the last chunk has the reason why it ended.',
    run: async ({ tiny }) => {
      const [whole] = (await tiny.ok(CHAT, chat(greedy))).choices;
      const chunks = (await tiny.chunks(CHAT, chat(greedy))).map(({ choices }) => choices[0]);
      assert.equal(chunks.map(({ delta }) => delta.content ?? '').join(''), whole.message.content);
      assert.deepEqual(
        chunks.map((one) => one.finish_reason),
        [...Array(chunks.length - 1).fill(null), whole.finish_reason],
      );
      const text = (await tiny.ok(COMPLETIONS, story)).choices[0].text;
      const pieces = (await tiny.chunks(COMPLETIONS, story)).map(({ choices }) => choices[0]);
      assert.equal(pieces.map((one) => one.text).join(''), text);
      assert.equal(pieces.filter((one) => one.finish_reason !== null).length, 1);
      assert.equal(pieces.at(-1).finish_reason, 'length');
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_chat_completion_stream')],
    says: 'The chunk with the reason has no content.',
    run: async ({ tiny }) => {
      const last = (await tiny.chunks(CHAT, chat(greedy))).at(-1).choices[0];
      assert.equal(last.finish_reason, 'length');
      assert.ok(!('content' in last.delta));
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_chat', 'test_chat_streaming'),
      vllm('completion/test_completion', 'test_completion_streaming'),
      vllm('chat_completion/test_chat', 'test_chat_completion_stream_options'),
    ],
    says: 'The chunk with the reason carries the last token’s text.',
    differs: 'The reason comes in a chunk of its own, as in OpenAI’s API and llama.cpp.',
    run: async ({ tiny }) => {
      isText((await tiny.chunks(CHAT, chat(greedy))).at(-1).choices[0].delta.content);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_chat_completion_n_parameter_streaming')],
    says: 'The stream of several choices has content for each.',
    run: async ({ tiny }) => {
      const texts = ['', ''];
      for (const { choices } of await tiny.chunks(CHAT, chat({ n: 2, temperature: 0.7 }))) {
        for (const { index, delta } of choices) texts[index] += delta.content ?? '';
      }
      texts.forEach(isText);
    },
  },
  {
    askedBy: [llama('test_ctx_shift', 'test_ctx_shift_disabled_stream')],
    says: 'A stream that reaches the end of the context ends with `length`.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'x'.repeat(100), maxContext: 40 });
      const chunks = (await server.chunks(COMPLETIONS, { prompt: 'Once', max_tokens: 256 })).map(
        (one) => one.choices[0],
      );
      isText(chunks.map(({ text }) => text).join(''));
      assert.deepEqual(
        chunks.flatMap(({ finish_reason: reason }) => reason ?? []),
        ['length'],
      );
    },
  },
  ...BOTH.flatMap(usageOf),
  {
    askedBy: [
      vllm('completion/test_completion', 'test_completion_stream_options'),
      vllm('chat_completion/test_chat', 'test_chat_completion_stream_options'),
    ],
    says: '`stream_options` without a stream are a 400.',
    differs: 'Programs send the same options always. Without a stream they have no effect.',
    run: async ({ tiny }) => {
      for (const [path, body] of BOTH) {
        await tiny.refused(path, { ...body, stream: false, stream_options: { include_usage: true } });
      }
    },
  },
];
