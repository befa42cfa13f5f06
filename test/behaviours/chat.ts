import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, distinct, isInteger, isText, matches, type Json } from './check.ts';
import { chat, type Client, STORY } from './servers.ts';

const CHAT = '/v1/chat/completions';
const system = { role: 'system', content: 'Book' };
const question = { role: 'user', content: 'What is the best book' };
const text = (...texts: string[]) => texts.map((one) => ({ type: 'text', text: one }));
/** The text of a greedy answer to these messages. */
const greedy = async (tiny: Client, messages: object[], more: object = {}): Promise<string> => {
  const { message } = await tiny.chat({ messages, temperature: 0, max_tokens: 8, ...more });
  return message.content;
};

/** Conversations, and how they reach the model. */
export const conversations: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completion'),
      vllm('chat_completion/test_chat', 'test_single_chat_session'),
    ],
    says: 'An answer has an id, a system fingerprint, one choice by the assistant, and `length` where it was cut off.',
    run: async ({ tiny }) => {
      const body = await tiny.ok(CHAT, { messages: [system, question], max_tokens: 8, ignore_eos: true });
      assert.match(body.id, /cmpl/);
      isText(body.system_fingerprint);
      matches(body, { object: 'chat.completion', choices: [{ index: 0, finish_reason: 'length' }] });
      matches(body.choices[0].message, { role: 'assistant' });
      isText(body.choices[0].message.content);
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completion'),
      vllm('chat_completion/test_chat', 'test_single_chat_session'),
    ],
    says: 'Usage counts the prompt’s tokens and the answer’s, and their sum.',
    run: async ({ tiny }) => {
      const { usage } = await tiny.ok(CHAT, { messages: [question], max_tokens: 8, ignore_eos: true });
      isInteger(usage.prompt_tokens, 4);
      matches(usage, { completion_tokens: 8, total_tokens: usage.prompt_tokens + 8 });
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_chat_completion_with_openai_library')],
    says: 'OpenAI’s client gets an answer with a seed and a temperature.',
    run: async ({ tiny }) => {
      const sampling = { max_tokens: 8, seed: 42, temperature: 0.8 };
      const messages = [{ role: 'user' as const, content: STORY }];
      const { choices } = await tiny.openai.chat.completions.create({ model: 'tiny-stories', messages, ...sampling });
      isText(choices[0]?.message.content);
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completion'),
      vllm('chat_completion/test_chat', 'test_complex_message_content'),
      vllm('chat_completion/test_chat_error', 'test_system_message_accepts_text_array'),
    ],
    says: 'Content may be a list of text parts, also of a system message.',
    run: async ({ tiny }) => {
      const whole = await greedy(tiny, [{ role: 'user', content: STORY }]);
      assert.equal(await greedy(tiny, [{ role: 'user', content: text('Once upon', ' a time') }]), whole);
      isText(await greedy(tiny, [{ role: 'system', content: text('Book') }, question]));
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_single_chat_session')],
    says: 'An earlier answer can be sent back, and the conversation goes on.',
    run: async ({ scripted }) => {
      const server = await scripted('4');
      const messages = [system, question, { role: 'assistant', content: 'This one.' }, question];
      await server.chat({ messages });
      matches(server.conversation.messages, messages);
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_template_assistant_prefill'),
      vllm('basic/test_chat_echo', 'test_chat_session_with_echo_and_continue_final_message'),
      vllm('chat_completion/test_root_path', 'test_chat_session_root_path_with_api_key'),
    ],
    says: 'With `continue_final_message` and without a generation prompt the answer goes on with the last message, and does not repeat it.',
    run: async ({ scripted }) => {
      const server = await scripted(' the doctor away');
      const saying = { role: 'assistant', content: 'An apple a day keeps' };
      const flags = { continue_final_message: true, add_generation_prompt: false, echo: false };
      const { message } = await server.chat({ messages: [question, saying], ...flags });
      assert.equal(message.content, ' the doctor away');
      matches(server.conversation, { continueFinalMessage: true, addGenerationPrompt: false });
    },
  },
  {
    askedBy: [llama('test_chat_completion', 'test_chat_template_assistant_prefill')],
    says: 'A conversation that ends with an assistant’s message is continued without being asked to.',
    differs: 'The assistant’s next message begins, as in OpenAI’s API and vLLM. Send `continue_final_message: true`.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      await server.chat({ messages: [question, { role: 'assistant', content: text('Wh', 'ill') }] });
      matches(server.conversation, { continueFinalMessage: true });
    },
  },
  {
    askedBy: [vllm('basic/test_chat_echo', 'test_chat_session_with_echo_and_continue_final_message')],
    says: 'With `echo: true` the content begins with the message that is continued.',
    differs: 'The program has that text already. `echo` is for completions; here only `false` is taken.',
    run: async ({ scripted }) => {
      const server = await scripted(' the doctor away');
      const saying = { role: 'assistant', content: 'An apple a day keeps' };
      const { message } = await server.chat({ messages: [saying], continue_final_message: true, echo: true });
      assert.equal(message.content, 'An apple a day keeps the doctor away');
    },
  },
  {
    askedBy: [llama('test_template', 'test_add_generation_prompt')],
    says: '`add_generation_prompt: false` leaves out the beginning of an answer; the default begins one.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      for (const [asked, begins] of [
        [{ add_generation_prompt: false }, false],
        [{ add_generation_prompt: true }, true],
        [{}, true],
      ] as const) {
        await server.chat(asked);
        matches(server.conversation, { addGenerationPrompt: begins });
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_extra_fields_allowed')],
    says: 'Fields of a message that the server does not know are no error.',
    run: async ({ tiny }) => {
      isText(await greedy(tiny, [{ role: 'user', content: STORY, extra_field: '0' }]));
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_custom_role')],
    says: 'Messages may have roles of the client’s own.',
    differs:
      'A template that does not know a role leaves its message out or fails; a role that is misspelt is named in a 400.',
    run: async ({ tiny }) => {
      const [plain, parts] = [STORY, text(STORY)].map((content) => [{ role: 'my-custom-role', content }]);
      assert.equal(await greedy(tiny, plain!), await greedy(tiny, parts!));
    },
  },
  {
    askedBy: [
      llama('test_chat_completion', 'test_chat_completions_multiple_choices'),
      vllm('chat_completion/test_chat', 'test_chat_completion_n_parameter_non_streaming'),
    ],
    says: '`n` gives so many choices, each with its index, which differ at a temperature above 0.',
    run: async ({ tiny }) => {
      const { choices } = await tiny.ok(CHAT, chat({ n: 3, temperature: 1, max_tokens: 20 }));
      matches(
        choices,
        [0, 1, 2].map((index) => ({ index, message: { role: 'assistant' } })),
      );
      for (const { message } of choices) isText(message.content);
      assert.ok(distinct(choices.map(({ message }: Json) => message.content)) > 1);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_chat_completion_n_with_seed')],
    says: '`n` and a seed go together.',
    run: async ({ tiny }) => {
      const ask = () => tiny.ok(CHAT, chat({ n: 2, seed: 42, temperature: 0.8, max_tokens: 10 }));
      const [one, other] = [await ask(), await ask()];
      assert.deepEqual(one.choices, other.choices);
      assert.equal(one.choices.length, 2);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_chat', 'test_chat_completion_n_equals_1')],
    says: 'There is one choice with `n: 1` and without `n`.',
    run: async ({ tiny }) => {
      for (const more of [{ n: 1 }, {}]) {
        matches(await tiny.ok(CHAT, chat({ max_tokens: 4, ...more })), { choices: [{ index: 0 }] });
      }
    },
  },
];
