import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, matches } from './check.ts';
import { chat, STORY } from './servers.ts';

const TOKENIZE = 'serve/tokenize/test_tokenization';
const IDS = 'basic/test_return_token_ids';
const FRANCE = 'What is the capital of France ?';
const conversation = [
  { role: 'user', content: 'Hi there!' },
  { role: 'assistant', content: 'Nice to meet you!' },
  { role: 'user', content: 'Can I ask a question?' },
];
const greedy = { temperature: 0, max_tokens: 10, ignore_eos: true };

/** Texts as tokens, and tokens beside texts. */
export const tokens: readonly Behaviour[] = [
  {
    askedBy: [llama('test_tokenize', 'test_tokenize_detokenize')],
    says: '`/tokenize` takes llama.cpp’s `content`, and `/detokenize` gives it back.',
    run: async ({ tiny }) => {
      const { tokens: ids } = await tiny.ok('/tokenize', { content: FRANCE });
      assert.ok(ids.length > 5);
      const { content } = await tiny.ok('/detokenize', { tokens: ids });
      assert.equal(content.trim(), FRANCE);
    },
  },
  {
    askedBy: [llama('test_tokenize', 'test_tokenize_with_bos')],
    says: '`add_special: true` puts the begin-of-text token before the text.',
    run: async ({ tiny }) => {
      const { tokens: ids } = await tiny.ok('/tokenize', { content: FRANCE, add_special: true });
      assert.equal(ids[0], 0);
    },
  },
  {
    askedBy: [llama('test_tokenize', 'test_tokenize_with_pieces')],
    says: '`with_pieces: true` gives each token’s id with its text.',
    run: async ({ tiny }) => {
      const content = 'This is a test string with unicode 媽 and emoji 🤗';
      const { tokens: pieces } = await tiny.ok('/tokenize', { content, with_pieces: true });
      for (const { id, piece } of pieces) assert.ok(Number.isInteger(id) && piece.length > 0);
    },
  },
  {
    askedBy: [vllm(TOKENIZE, 'test_tokenize_completions')],
    says: '`/tokenize` takes vLLM’s `prompt`, with and without special tokens, and tells the count and the context’s length.',
    run: async ({ tiny }) => {
      for (const add_special_tokens of [false, true]) {
        const body = await tiny.ok('/tokenize', { prompt: STORY, add_special_tokens, model: 'tiny-stories' });
        matches(body, { count: body.tokens.length, max_model_len: 512, token_strs: null });
        assert.equal(body.tokens[0] === 0, add_special_tokens);
      }
    },
  },
  {
    askedBy: [vllm(TOKENIZE, 'test_tokenize_chat'), vllm(TOKENIZE, 'test_tokenize_chat_with_tools')],
    says: 'It takes `messages` with `tools`, `add_generation_prompt` and `continue_final_message` as chat does.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const tools = [{ type: 'function', function: { name: 'get_weather', parameters: { type: 'object' } } }];
      for (const flags of [
        { add_generation_prompt: true },
        { add_generation_prompt: false },
        { add_generation_prompt: false, continue_final_message: true },
      ]) {
        const body = await server.ok('/tokenize', { messages: conversation, tools, ...flags });
        matches(body, { count: body.tokens.length, max_model_len: 4096 });
        matches(server.conversation, {
          messages: conversation,
          tools,
          addGenerationPrompt: flags.add_generation_prompt,
          continueFinalMessage: flags.continue_final_message ?? false,
        });
      }
    },
  },
  {
    askedBy: [vllm(TOKENIZE, 'test_tokenize_with_return_token_strs')],
    says: '`return_token_strs: true` gives the tokens’ texts beside their ids.',
    run: async ({ tiny }) => {
      const body = await tiny.ok('/tokenize', { prompt: STORY, return_token_strs: true });
      assert.equal(body.token_strs.length, body.tokens.length);
      for (const text of body.token_strs) assert.equal(typeof text, 'string');
    },
  },
  {
    askedBy: [vllm(TOKENIZE, 'test_detokenize')],
    says: '`/detokenize` gives the text as vLLM’s `prompt`.',
    run: async ({ tiny }) => {
      const asked = { prompt: STORY, add_special_tokens: false };
      const { tokens: ids } = await tiny.ok('/tokenize', asked);
      matches(await tiny.ok('/detokenize', { model: 'tiny-stories', tokens: ids }), { prompt: STORY });
    },
  },
  {
    askedBy: [
      vllm(
        'serve/tokenize/test_serving_tokenization',
        'TestDetokenizeClientErrorResponses.test_overflow_error_returns_bad_request',
      ),
      vllm(
        'serve/tokenize/test_serving_tokenization',
        'TestDetokenizeClientErrorResponses.test_tokenize_and_detokenize_agree_on_client_errors',
      ),
    ],
    says: 'Ids outside the vocabulary and bodies without a text are a 400.',
    run: async ({ tiny }) => {
      for (const ids of [[999_999], [-1], 'x']) await tiny.refused('/detokenize', { tokens: ids });
      await tiny.refused('/tokenize', {});
    },
  },
  {
    askedBy: [
      vllm(IDS, 'test_basic_completion_with_emoji'),
      vllm('completion/test_token_in_token_out', 'test_token_in_token_out_and_logprobs'),
    ],
    says: 'With `return_token_ids` a completion’s choice has the ids of its prompt and of its answer, also with `echo`.',
    run: async ({ tiny }) => {
      const { tokens: prompt } = await tiny.ok('/tokenize', { prompt: 'I love coding 🚀' });
      for (const echo of [false, true]) {
        const choice = await tiny.complete({ prompt: 'I love coding 🚀', ...greedy, return_token_ids: true, echo });
        assert.deepEqual(choice.prompt_token_ids, prompt);
        assert.equal(choice.token_ids.length, 10);
        const { prompt: text } = await tiny.ok('/detokenize', { tokens: choice.token_ids });
        assert.ok(choice.text.endsWith(text));
      }
      const without = await tiny.complete({ ...greedy, return_token_ids: false });
      assert.equal(without.token_ids ?? null, null);
    },
  },
  {
    askedBy: [
      vllm(IDS, 'test_chat_completion_with_tool_use'),
      vllm(IDS, 'test_chat_completion_with_emoji_and_token_ids'),
    ],
    says: 'A chat answer has its own ids in the choice, and the prompt’s beside the choices.',
    run: async ({ tiny }) => {
      const body = await tiny.ok('/v1/chat/completions', chat({ ...greedy, return_token_ids: true }));
      assert.ok(body.prompt_token_ids.length > 3);
      assert.equal(body.choices[0].token_ids.length, 10);
      const without = await tiny.ok('/v1/chat/completions', chat(greedy));
      assert.equal(without.prompt_token_ids ?? without.choices[0].token_ids ?? null, null);
    },
  },
  {
    askedBy: [
      vllm(IDS, 'test_chat_completion_with_emoji_and_token_ids'),
      vllm(IDS, 'test_comparison_with_prompt_logprobs_and_logprobs'),
    ],
    says: 'In a stream the first chunk has the prompt’s ids, and the chunks together the answer’s.',
    run: async ({ tiny }) => {
      const whole = await tiny.ok('/v1/chat/completions', chat({ ...greedy, return_token_ids: true }));
      const chunks = await tiny.chunks('/v1/chat/completions', chat({ ...greedy, return_token_ids: true }));
      assert.deepEqual(chunks[0].prompt_token_ids, whole.prompt_token_ids);
      for (const chunk of chunks.slice(1)) assert.ok(!('prompt_token_ids' in chunk));
      const ids = chunks.flatMap(({ choices }) => choices[0]?.token_ids ?? []);
      assert.deepEqual(ids, whole.choices[0].token_ids);
    },
  },
  {
    askedBy: [vllm(IDS, 'test_comparison_with_prompt_logprobs_and_logprobs')],
    says: 'Ids of the answer agree with log-probabilities whose tokens are named by id, also with `echo` and `prompt_logprobs`.',
    run: async ({ tiny }) => {
      const asked = { return_token_ids: true, return_tokens_as_token_ids: true, prompt_logprobs: 1 };
      const choice = await tiny.complete({ ...greedy, ...asked, echo: true, logprobs: 1 });
      const named = choice.logprobs.tokens.map((name: string) => Number(name.replace('token_id:', '')));
      assert.deepEqual(named.slice(-choice.token_ids.length), choice.token_ids);
      assert.deepEqual(named.slice(0, -choice.token_ids.length), choice.prompt_token_ids);
      assert.equal(choice.prompt_logprobs.length, choice.prompt_token_ids.length);
    },
  },
];
