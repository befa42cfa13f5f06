import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, distinct, isText, matches } from './check.ts';
import { chat, STORY } from './servers.ts';

const CHAT = '/v1/chat/completions';
const COMPLETIONS = '/v1/completions';
/** The default model's. */
const VOCABULARY = 2048;
const WORDS = ['the', 'a', 'was', 'and', 'to', 'she', 'he', 'it', 'there', 'named', 'little', 'boy', 'girl'];

/** What decides which tokens are drawn, and when an answer ends. */
export const sampling: readonly Behaviour[] = [
  {
    askedBy: [llama('test_completion', 'test_consistent_result_same_seed')],
    says: 'The same seed gives the same answer, greedy and not.',
    run: async ({ tiny }) => {
      for (const temperature of [0, 1]) {
        const texts: string[] = [];
        for (let i = 0; i < 3; i++) texts.push((await tiny.complete({ seed: 42, temperature, max_tokens: 16 })).text);
        assert.equal(distinct(texts), 1);
      }
    },
  },
  {
    askedBy: [llama('test_completion', 'test_different_result_different_seed')],
    says: 'Different seeds give different answers.',
    run: async ({ tiny }) => {
      const texts: string[] = [];
      for (const seed of [0, 1, 2, 3]) {
        texts.push((await tiny.complete({ seed, temperature: 1, max_tokens: 16 })).text);
      }
      assert.equal(distinct(texts), 4);
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_chat', 'test_long_seed'),
      vllm('responses/test_sampling_params', 'TestResponsesRequestSamplingParams.test_seed_bounds_validation'),
    ],
    says: 'Seeds are signed integers of 64 bits; others are refused.',
    differs: 'Any integer is taken, since some programs send unsigned ones.',
    run: async ({ tiny }) => {
      for (const seed of ['-9223372036854777856', '9223372036854777856']) {
        await tiny.refused(CHAT, `{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "seed": ${seed}}`);
      }
    },
  },
  {
    askedBy: [vllm('responses/test_sampling_params', 'TestResponsesRequestSamplingParams.test_seed_bounds_validation')],
    says: 'Seeds at both ends of 64 bits are taken.',
    run: async ({ tiny }) => {
      for (const seed of ['-9223372036854775808', '9223372036854775807']) {
        const answer = await tiny.post(COMPLETIONS, `{"prompt": "x", "max_tokens": 1, "seed": ${seed}}`);
        assert.equal(answer.status, 200);
      }
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_logit_bias'), llama('test_completion', 'test_logit_bias')],
    says: 'A `logit_bias` of -100 keeps tokens out of the answer, as OpenAI’s object by id or as a list of pairs.',
    run: async ({ tiny }) => {
      const text = WORDS.map((word) => ` ${word}`).join('');
      const { tokens } = await tiny.ok('/tokenize', { content: text });
      const pairs = tokens.map((id: number) => [id, -100]);
      const greedy = { temperature: 0, max_tokens: 48 };
      const free = await tiny.chat(greedy);
      assert.ok(WORDS.some((word) => free.message.content.includes(` ${word} `)));
      for (const logit_bias of [Object.fromEntries(pairs), pairs]) {
        const { message } = await tiny.chat({ ...greedy, logit_bias });
        isText(message.content);
        for (const word of WORDS) assert.ok(!message.content.includes(` ${word} `), word);
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat_logit_bias_validation', 'test_chat_logit_bias_valid')],
    says: 'A bias of the last id of the vocabulary is taken.',
    run: async ({ tiny }) => {
      const { message } = await tiny.chat({ logit_bias: { [String(VOCABULARY - 1)]: 1 }, max_tokens: 5 });
      isText(message.content);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat_logit_bias_validation', 'test_chat_logit_bias_invalid')],
    says: 'A bias of an id outside the vocabulary is a 400 that names the id and the vocabulary’s size.',
    run: async ({ tiny }) => {
      const error = await tiny.refused(CHAT, chat({ logit_bias: { [String(VOCABULARY + 1)]: 1 } }));
      assert.match(error.message, new RegExp(`${VOCABULARY + 1}.*${VOCABULARY}`));
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_chat_logit_bias_validation', 'test_chat_logit_bias_non_integer_key'),
      vllm('chat_completion/test_chat_logit_bias_validation', 'test_chat_logit_bias_non_numeric_value'),
    ],
    says: 'A bias with a key that is no id, or a value that is no number, is a 400 that names `logit_bias`.',
    run: async ({ tiny }) => {
      for (const logit_bias of [{ not_a_token_id: 50 }, { 1: 'not_a_number' }]) {
        const error = await tiny.refused(CHAT, chat({ logit_bias }));
        assert.match(error.message, /logit_bias/);
      }
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_chat_logit_bias_validation', 'test_chat_logit_bias_multiple_non_integer_keys'),
    ],
    says: 'All keys that are no ids are named in one error.',
    differs: 'One fault is named at a time, and names of a client’s own are not echoed.',
    run: async ({ tiny }) => {
      const error = await tiny.refused(CHAT, chat({ logit_bias: { bad1: 50, bad2: 20 } }));
      assert.match(error.message, /bad1.*bad2/);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat_stop_token_ids_validation', 'test_chat_stop_token_ids_valid')],
    says: '`stop_token_ids` end an answer.',
    run: async ({ tiny }) => {
      const greedy = { temperature: 0, max_tokens: 12, logprobs: 0 };
      const free = await tiny.complete(greedy);
      const { tokens } = await tiny.ok('/tokenize', { content: free.text, add_special: false });
      const stopped = await tiny.complete({ ...greedy, stop_token_ids: [tokens[4]] });
      matches(stopped, { finish_reason: 'stop', stop_reason: tokens[4] });
      assert.ok(stopped.text.length < free.text.length && free.text.startsWith(stopped.text));
      await tiny.chat({ stop_token_ids: [VOCABULARY - 1], max_tokens: 5 });
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_chat_stop_token_ids_validation', 'test_chat_stop_token_ids_out_of_vocab'),
      vllm('chat_completion/test_chat_stop_token_ids_validation', 'test_chat_stop_token_ids_negative'),
    ],
    says: '`stop_token_ids` outside the vocabulary are a 400 that names the id and the vocabulary’s size.',
    run: async ({ tiny }) => {
      const error = await tiny.refused(CHAT, chat({ stop_token_ids: [VOCABULARY + 1] }));
      assert.match(error.message, new RegExp(`${VOCABULARY + 1}.*${VOCABULARY}`));
      await tiny.refused(CHAT, chat({ stop_token_ids: [-1] }));
    },
  },
  {
    askedBy: [llama('test_completion', 'test_completion_stream_with_openai_library_stops')],
    says: 'Several stop strings with line breaks end a stream at the first of them, which is not shown.',
    run: async ({ scripted }) => {
      const server = await scripted('Sure, here is one.\nUser:\nAnother!\nAssistant:\n');
      const stop = ['User:\n', 'Assistant:\n'];
      const chunks = await server.chunks(COMPLETIONS, { prompt: 'x', stop, max_tokens: 200 });
      assert.equal(chunks.map(({ choices }) => choices[0].text).join(''), 'Sure, here is one.\n');
      assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
    },
  },
  {
    askedBy: [llama('test_ignore_eos', 'test_ignore_eos_populates_logit_bias')],
    says: 'With `ignore_eos` an answer never ends by itself.',
    run: async ({ tiny }) => {
      // This bias makes the end of text the next token, unless it may not be drawn.
      const asked = { max_tokens: 24, logit_bias: { 0: 100 } };
      matches(await tiny.complete({ ...asked, ignore_eos: true }), { finish_reason: 'length' });
    },
  },
  {
    askedBy: [llama('test_ignore_eos', 'test_ignore_eos_false_no_logit_bias')],
    says: 'With `ignore_eos: false`, the default, an answer ends where the model ends it.',
    run: async ({ tiny }) => {
      for (const more of [{ ignore_eos: false }, {}]) {
        const choice = await tiny.complete({ max_tokens: 24, logit_bias: { 0: 100 }, ...more });
        matches(choice, { finish_reason: 'stop', text: '' });
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_chat_completion_stream_options')],
    says: '`min_tokens` keeps an answer from ending before it has so many.',
    run: async ({ tiny }) => {
      const { usage } = await tiny.ok(COMPLETIONS, {
        prompt: STORY,
        min_tokens: 10,
        max_tokens: 24,
        logit_bias: { 0: 50 },
      });
      assert.ok(usage.completion_tokens >= 10);
    },
  },
  {
    askedBy: [
      vllm('responses/test_simple', 'test_extra_sampling_params'),
      vllm('responses/test_sampling_params', 'TestResponsesRequestSamplingParams.test_extra_sampling_params'),
    ],
    says: '`top_k`, `repetition_penalty`, `min_p` and the other penalties are taken beside OpenAI’s parameters.',
    run: async ({ tiny }) => {
      const { message } = await tiny.chat({
        top_k: 40,
        top_p: 0.9,
        min_p: 0.05,
        repetition_penalty: 1.2,
        presence_penalty: 0.5,
        frequency_penalty: 0.5,
        seed: 42,
      });
      isText(message.content);
    },
  },
  {
    askedBy: [
      vllm('completion/test_completion', 'test_completion_truncation_side_controls_prompt_truncation'),
      vllm('chat_completion/test_chat_completion', 'test_chat_completion_truncation_side_controls_prompt_truncation'),
    ],
    says: '`truncate_prompt_tokens` keeps the last tokens of a prompt.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const asked = { prompt: [0, 1, 2, 3, 4, 5, 6, 7], max_tokens: 1, truncate_prompt_tokens: 4 };
      for (const more of [{}, { truncation_side: 'left' }]) {
        await server.ok(COMPLETIONS, { ...asked, ...more });
        assert.deepEqual(server.submitted.at(-1)?.promptIds, [4, 5, 6, 7]);
      }
    },
  },
  {
    askedBy: [
      vllm('completion/test_completion', 'test_completion_truncation_side_controls_prompt_truncation'),
      vllm('chat_completion/test_chat_completion', 'test_chat_completion_truncation_side_controls_prompt_truncation'),
    ],
    says: '`truncation_side: "right"` keeps the first tokens instead.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const asked = { prompt: [0, 1, 2, 3, 4, 5, 6, 7], max_tokens: 1, truncate_prompt_tokens: 4 };
      await server.ok(COMPLETIONS, { ...asked, truncation_side: 'right' });
      assert.deepEqual(server.submitted.at(-1)?.promptIds, [0, 1, 2, 3]);
    },
  },
];
