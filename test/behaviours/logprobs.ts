import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, matches, type Json } from './check.ts';
import { chat, STORY } from './servers.ts';

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
const ids = { prompt: [11, 12, 13, 14, 15], max_tokens: 5, temperature: 0, ignore_eos: true };
const greedy = { temperature: 0, max_tokens: 5, ignore_eos: true };

/** Checks one entry of a chat answer's log-probabilities. */
function isEntry(entry: Json, alternatives: number): void {
  assert.equal(typeof entry.token, 'string');
  assert.ok(entry.logprob <= 0);
  assert.ok(Array.isArray(entry.bytes));
  assert.equal(entry.top_logprobs.length, alternatives);
  for (const one of entry.top_logprobs) assert.ok(typeof one.token === 'string' && one.logprob <= 0);
}

const BOTH = [
  [COMPLETIONS, ids, vllm('completion/test_completion', 'test_too_many_completion_logprobs'), { logprobs: 21 }],
  [
    CHAT,
    chat(greedy),
    vllm('chat_completion/test_chat', 'test_too_many_chat_logprobs'),
    { logprobs: true, top_logprobs: 21 },
  ],
] as const;

/** Log-probabilities of answers and prompts. */
export const logprobs: readonly Behaviour[] = [
  ...(
    [
      [COMPLETIONS, { ...ids, logprobs: null }, vllm('completion/test_completion', 'test_no_logprobs')],
      [CHAT, chat({ logprobs: false }), vllm('chat_completion/test_chat', 'test_no_logprobs_chat')],
    ] as const
  ).map(([path, body, test]): Behaviour => ({
    askedBy: [test],
    says: `There are none where none are asked for (\`${path}\`).`,
    run: async ({ tiny }) => matches(await tiny.ok(path, body), { choices: [{ logprobs: null }] }),
  })),
  {
    askedBy: [vllm('completion/test_completion', 'test_zero_logprobs')],
    says: 'A completion with `logprobs: 0` has those of its own tokens.',
    run: async ({ tiny }) => {
      const { logprobs: given } = await tiny.complete({ ...ids, logprobs: 0 });
      assert.equal(given.token_logprobs.length, 5);
      for (const one of given.top_logprobs) assert.equal(Object.keys(one).length, 1);
    },
  },
  {
    askedBy: [vllm('completion/test_completion', 'test_some_logprobs')],
    says: 'A completion with `logprobs: 5` has five alternatives, and the token itself if it is none of them.',
    run: async ({ tiny }) => {
      const { logprobs: given } = await tiny.complete({ ...ids, temperature: 1, seed: 1, logprobs: 5 });
      for (const one of given.top_logprobs) assert.ok([5, 6].includes(Object.keys(one).length));
    },
  },
  ...BOTH.map(([path, body, test, asked]): Behaviour => ({
    askedBy: [test],
    says: `More than 20 are refused, whole and streamed, and the next request is answered (\`${path}\`).`,
    run: async ({ tiny }) => {
      for (const stream of [false, true]) await tiny.refused(path, { ...body, ...asked, stream });
      await tiny.ok(path, body);
    },
  })),
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_zero_logprobs_chat')],
    says: 'A chat answer with `top_logprobs: 0` has its tokens’ own and no alternatives.',
    run: async ({ tiny }) => {
      const { logprobs: given } = await tiny.chat({ ...greedy, logprobs: true, top_logprobs: 0 });
      for (const entry of given.content) isEntry(entry, 0);
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_logprobs'),
      vllm('chat_completion/test_chat', 'test_some_logprobs_chat'),
    ],
    says: 'A chat answer’s entries have bytes and as many alternatives as asked for, and their tokens make the text.',
    run: async ({ tiny }) => {
      const { message, logprobs: given } = await tiny.chat({ ...greedy, logprobs: true, top_logprobs: 10 });
      for (const entry of given.content) isEntry(entry, 10);
      assert.equal(given.content.map(({ token }: Json) => token).join(''), message.content);
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_logprobs_stream')],
    says: 'A stream has the same entries, with the text that they make.',
    run: async ({ tiny }) => {
      const asked = chat({ ...greedy, logprobs: true, top_logprobs: 10 });
      let [content, tokens] = ['', ''];
      for (const { choices } of await tiny.chunks(CHAT, asked)) {
        content += choices[0].delta.content ?? '';
        for (const entry of choices[0].logprobs?.content ?? []) {
          isEntry(entry, 10);
          tokens += entry.token;
        }
      }
      assert.equal(tokens, content);
      assert.equal(content, (await tiny.chat(greedy)).message.content);
    },
  },
  {
    askedBy: [vllm('completion/test_completion', 'test_prompt_logprobs_completion')],
    says: 'A completion’s choices have `prompt_logprobs` where these are asked for, -1 is refused.',
    run: async ({ tiny }) => {
      const prompt = ['A robot may not injure another robot', 'My name is'];
      for (const prompt_logprobs of [0, 1]) {
        const { choices } = await tiny.ok(COMPLETIONS, { prompt, max_tokens: 2, prompt_logprobs });
        for (const choice of choices) assert.ok(choice.prompt_logprobs.length > 1);
      }
      const { choices } = await tiny.ok(COMPLETIONS, { prompt, max_tokens: 2 });
      assert.equal(choices[0].prompt_logprobs ?? null, null);
      await tiny.refused(COMPLETIONS, { prompt, prompt_logprobs: -1 });
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_prompt_logprobs_chat')],
    says: 'A chat answer has them beside its choices.',
    run: async ({ tiny }) => {
      for (const prompt_logprobs of [0, 1]) {
        const body = await tiny.ok(CHAT, chat({ max_tokens: 2, prompt_logprobs }));
        assert.ok(body.prompt_logprobs.length > 1);
      }
      assert.equal((await tiny.ok(CHAT, chat({ max_tokens: 2 }))).prompt_logprobs ?? null, null);
      await tiny.refused(CHAT, chat({ prompt_logprobs: -1 }));
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_more_than_one_prompt_logprobs_chat')],
    says: 'A position of the prompt has as many alternatives as asked for, and its own token.',
    run: async ({ tiny }) => {
      for (const prompt_logprobs of [1, 2]) {
        const body = await tiny.ok(CHAT, chat({ max_tokens: 2, prompt_logprobs }));
        const { length } = Object.keys(body.prompt_logprobs[2]);
        assert.ok(length === prompt_logprobs || length === prompt_logprobs + 1);
      }
    },
  },
  {
    askedBy: [vllm('completion/test_completion', 'test_echo_logprob_completion')],
    says: 'With `echo` and `logprobs` the prompt is repeated with its log-probabilities; its first token has none.',
    run: async ({ tiny }) => {
      for (const [prompt, tokens] of [
        [STORY, 4],
        [ids.prompt, 5],
      ] as const) {
        for (const wanted of [0, 1]) {
          const choice = await tiny.complete({ ...ids, prompt, echo: true, logprobs: wanted });
          if (typeof prompt === 'string') assert.ok(choice.text.startsWith(prompt));
          const { text_offset: offsets, token_logprobs: own, top_logprobs: top, tokens: names } = choice.logprobs;
          for (const list of [offsets, own, top, names]) assert.ok(list.length > tokens);
          assert.equal(own[0], null);
          assert.equal(top[0], null);
          for (const one of top.slice(1)) {
            const { length } = Object.keys(one);
            assert.ok(Math.max(wanted, 1) <= length && length <= wanted + 1);
          }
        }
      }
    },
  },
  {
    askedBy: [
      vllm('completion/test_completion_text_offset', 'test_stream_text_offset_matches_non_stream_with_stop_holdback'),
    ],
    says: 'Offsets are the same streamed as whole, also while text is held back for a stop string.',
    run: async ({ scripted }) => {
      const server = await scripted('abc de!');
      const asked = { prompt: 'Hi', max_tokens: 32, logprobs: 0, stop: ['\n\n'] };
      const whole = await server.complete(asked);
      const chunks = await server.chunks(COMPLETIONS, asked);
      const offsets = chunks.flatMap(({ choices }) => choices[0].logprobs?.text_offset ?? []);
      assert.deepEqual(whole.logprobs.text_offset, [0, 1, 2, 3, 4, 5, 6]);
      assert.deepEqual(offsets, whole.logprobs.text_offset);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_structured_outputs_choice_chat_logprobs')],
    says: 'No log-probability of an answer that must fit a format is below -9999.',
    run: async ({ tiny }) => {
      const structured_outputs = { choice: ['Python', 'Rust'] };
      const { logprobs: given } = await tiny.chat({ structured_outputs, logprobs: true, top_logprobs: 5 });
      for (const { top_logprobs: top } of given.content) for (const { logprob } of top) assert.ok(logprob >= -9999);
    },
  },
  {
    askedBy: [
      vllm('test_return_tokens_as_ids', 'test_completion_return_tokens_as_token_ids_completion'),
      vllm('test_return_tokens_as_ids', 'test_chat_return_tokens_as_token_ids_completion'),
    ],
    says: 'With `return_tokens_as_token_ids` tokens are named `token_id:7`.',
    run: async ({ tiny }) => {
      const asked = { return_tokens_as_token_ids: true, ...greedy };
      const completion = await tiny.complete({ ...asked, logprobs: 1 });
      for (const name of completion.logprobs.tokens) assert.match(name, /^token_id:\d+$/);
      for (const one of completion.logprobs.top_logprobs) assert.match(Object.keys(one)[0]!, /^token_id:\d+$/);
      const { logprobs: given, message } = await tiny.chat({ ...asked, logprobs: true });
      const tokens = given.content.map(({ token }: Json) => Number(token.replace('token_id:', '')));
      assert.equal((await tiny.ok('/detokenize', { tokens })).prompt, message.content);
    },
  },
];
