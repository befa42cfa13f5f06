import { setTimeout as delay } from 'node:timers/promises';
import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, distinct, isText, matches, type Json } from './check.ts';
import { STORY } from './servers.ts';

const COMPLETIONS = '/v1/completions';
const IDS = [11, 12, 13, 14, 15];
const story = { prompt: STORY, max_tokens: 8, temperature: 0 };

/** Prompts of texts and token ids, several prompts, and cancelling. */
export const completions: readonly Behaviour[] = [
  {
    askedBy: [
      vllm('completion/test_completion', 'test_single_completion'),
      llama('test_completion', 'test_completion_with_openai_library'),
    ],
    says: 'A text is continued by as many tokens as asked for, and usage adds up.',
    run: async ({ tiny }) => {
      const body = await tiny.ok(COMPLETIONS, { ...story, max_tokens: 5, ignore_eos: true });
      matches(body, { object: 'text_completion', choices: [{ index: 0, finish_reason: 'length' }] });
      isText(body.id);
      assert.ok(body.choices[0].text.length >= 5);
      const { prompt_tokens: prompt } = body.usage;
      matches(body.usage, { completion_tokens: 5, total_tokens: prompt + 5 });
    },
  },
  {
    askedBy: [llama('test_completion', 'test_completion_with_openai_library')],
    says: 'OpenAI’s client gets a completion with a system fingerprint.',
    run: async ({ tiny }) => {
      const answer = await tiny.openai.completions.create({
        model: 'tiny-stories',
        prompt: STORY,
        max_tokens: 8,
        seed: 1,
      });
      isText(answer.system_fingerprint);
      isText(answer.choices[0]?.text);
    },
  },
  {
    askedBy: [llama('test_completion', 'test_completion_stream_with_openai_library')],
    says: 'OpenAI’s client streams a completion.',
    run: async ({ tiny }) => {
      const asked = { model: 'tiny-stories', prompt: STORY, max_tokens: 8, seed: 1, stream: true } as const;
      let text = '';
      for await (const { choices } of await tiny.openai.completions.create(asked)) text += choices[0]?.text ?? '';
      isText(text);
    },
  },
  {
    askedBy: [
      vllm('completion/test_completion', 'test_single_completion'),
      llama('test_completion', 'test_completion_with_tokens_input'),
    ],
    says: 'A prompt may be token ids, and then has no log-probabilities that were not asked for.',
    run: async ({ tiny }) => {
      const choice = await tiny.complete({ ...story, prompt: IDS });
      isText(choice.text);
      assert.equal(choice.prompt_logprobs ?? null, null);
    },
  },
  {
    askedBy: [
      vllm('completion/test_completion', 'test_batch_completions'),
      llama('test_completion', 'test_completion_with_tokens_input'),
    ],
    says: 'Several prompts of texts or of ids get a choice each, and equal prompts equal choices.',
    run: async ({ tiny }) => {
      for (const prompt of [
        [STORY, STORY],
        [IDS, IDS],
      ]) {
        const { choices } = await tiny.ok(COMPLETIONS, { ...story, prompt });
        matches(choices, [{ index: 0 }, { index: 1, text: choices[0].text }]);
      }
    },
  },
  {
    askedBy: [vllm('completion/test_completion', 'test_batch_completions')],
    says: 'Several prompts can be streamed, each chunk with the index of its choice.',
    run: async ({ tiny }) => {
      const texts = ['', ''];
      for (const { choices } of await tiny.chunks(COMPLETIONS, { ...story, prompt: [STORY, STORY] })) {
        assert.equal(choices.length, 1);
        texts[choices[0].index] += choices[0].text;
      }
      isText(texts[0]);
      assert.equal(texts[0], texts[1]);
    },
  },
  {
    askedBy: [vllm('completion/test_completion', 'test_batch_completions')],
    says: '`use_beam_search` gives the `n` likeliest continuations.',
    differs: 'Beam search is not built: it keeps many sequences per answer. `best_of` chooses among sampled answers.',
    run: async ({ tiny }) => {
      const { choices } = await tiny.ok(COMPLETIONS, { ...story, n: 2, use_beam_search: true });
      assert.notEqual(choices[0].text, choices[1].text);
    },
  },
  {
    askedBy: [
      vllm('completion/test_completion', 'test_parallel_no_streaming'),
      vllm('completion/test_completion', 'test_parallel_streaming'),
    ],
    says: '`n` completions differ, are numbered, and each ends with a reason, whole and streamed.',
    run: async ({ tiny }) => {
      const asked = { prompt: STORY, max_tokens: 40, n: 3, temperature: 1, seed: 42 };
      const { choices } = await tiny.ok(COMPLETIONS, asked);
      assert.deepEqual(
        choices.map(({ index }: Json) => index),
        [0, 1, 2],
      );
      const texts = choices.map(({ text }: Json) => text);
      assert.equal(distinct(texts), 3);
      const streamed = ['', '', ''];
      let ends = 0;
      for (const chunk of await tiny.chunks(COMPLETIONS, asked)) {
        const [{ index, text, finish_reason: reason }] = chunk.choices;
        streamed[index] += text;
        if (reason !== null) ends++;
      }
      assert.equal(ends, 3);
      assert.deepEqual(streamed, texts);
    },
  },
  {
    askedBy: [llama('test_completion', 'test_completion_parallel_slots')],
    says: 'Requests at the same time all get their own answers.',
    run: async ({ tiny }) => {
      const prompts = [
        'Write a very long book.',
        'The sky is blue.',
        'What is it?',
        'Another poem.',
        'A joke.',
        'Songs.',
      ];
      const ask = async (prompt: string) => (await tiny.complete({ ...story, prompt })).text;
      const alone: string[] = [];
      for (const prompt of prompts) alone.push(await ask(prompt));
      assert.deepEqual(await Promise.all(prompts.map(ask)), alone);
    },
  },
  {
    askedBy: [
      llama('test_completion', 'test_cancel_request'),
      vllm('serve/instrumentator/test_basic', 'test_request_cancellation'),
    ],
    says: 'When a client hangs up, its generation ends and its place is free.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: () => ({ ids: Array(4000).fill(97), tokenDelayMs: 5 }) });
      const { generation } = server.server;
      const abort = new AbortController();
      const body = JSON.stringify({ prompt: STORY, max_tokens: 4000 });
      const headers = { 'content-type': 'application/json' };
      const answer = fetch(server.url + COMPLETIONS, { method: 'POST', headers, body, signal: abort.signal });
      while (generation.live === 0) await delay(1);
      abort.abort();
      await assert.rejects(answer);
      while (generation.live > 0) await delay(1);
      assert.equal(generation.cancelled, 1);
    },
  },
  {
    askedBy: [llama('test_ctx_shift', 'test_ctx_shift_disabled_short_prompt')],
    says: 'A limit of -1 lets the answer fill what the context leaves, and ends it with `length`.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: 'x'.repeat(200), maxContext: 64 });
      const { choices, usage } = await server.ok(COMPLETIONS, { prompt: 'Hi how are you', max_tokens: -1 });
      matches(choices, [{ finish_reason: 'length' }]);
      assert.equal(usage.total_tokens, 64);
    },
  },
  {
    askedBy: [llama('test_ctx_shift', 'test_ctx_shift_disabled_stream')],
    says: '`n_predict` is llama.cpp’s name of `max_tokens`.',
    run: async ({ tiny }) => {
      const asked = { prompt: STORY, n_predict: 24, ignore_eos: true };
      const { choices, usage } = await tiny.ok(COMPLETIONS, asked);
      matches(choices, [{ finish_reason: 'length' }]);
      assert.equal(usage.completion_tokens, 24);
    },
  },
];
