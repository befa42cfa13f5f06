import { describe, expect, it } from 'vitest';
import { type ChatMessage, ChatTemplate, variablesFault } from './chat-template.ts';
import { ModelError } from './errors.ts';
import { TooManyStepsError } from './jinja/budget.ts';

const USER: ChatMessage = { role: 'user', content: 'Weather?' };
const TOOL = { type: 'function', function: { name: 'weather', parameters: { type: 'object' } } } as const;

const calling = (args: string): ChatMessage[] => [
  USER,
  {
    role: 'assistant',
    content: null,
    tool_calls: [{ id: 'a', type: 'function', function: { name: 'weather', arguments: args } }],
  },
];

const CALLS = (printed: string): ChatTemplate =>
  new ChatTemplate(
    `{%- for m in messages -%}{{ m.role }}:{{ m.content }}{%- for c in m.tool_calls or [] -%}{{ c.function.name }}=${printed}{%- endfor -%};{%- endfor -%}`,
  );
const AS_OBJECT = CALLS('{{ c.function.arguments | tojson }}');
const AS_STRING = CALLS("{{ '' + c.function.arguments }}");
const AS_EITHER = CALLS(
  '{{ c.function.arguments if c.function.arguments is string else c.function.arguments | tojson }}',
);
const ITEMS = CALLS('{% for k, v in c.function.arguments.items() %}{{ k }}: {{ v }} {% endfor %}');

describe('arguments of calls', () => {
  it('reach a template in the form that it wants', () => {
    const text = '{"city":"Rome"}';
    expect(AS_OBJECT.renderChat(calling(text))).toContain('weather={"city": "Rome"};');
    expect(AS_STRING.renderChat(calling(text))).toContain(`weather=${text};`);
    expect(AS_EITHER.renderChat(calling(text))).toContain('weather={"city": "Rome"};');
    expect(ITEMS.renderChat(calling(text))).toContain('weather=city: Rome ;');
  });

  it('may be left out', () => {
    expect(AS_OBJECT.renderChat(calling(''))).toContain('weather={};');
    expect(AS_STRING.renderChat(calling(''))).toContain('weather={};');
  });

  it.each(['{"city": "Ro', '[1]', 'Rome', '3'])(
    'that are no object (%s) are refused with their place, or printed as they are',
    (text) => {
      expect(() => AS_OBJECT.renderChat(calling(text))).toThrow(
        /messages\[1\]\.tool_calls\[0\]\.function\.arguments is not/,
      );
      expect(AS_EITHER.renderChat(calling(text))).toContain(`weather=${text};`);
      expect(AS_STRING.renderChat(calling(text))).toContain(`weather=${text};`);
    },
  );
});

describe('traits', () => {
  it('say what a template prints', () => {
    expect(AS_EITHER.traits).toEqual({
      tools: false,
      calls: true,
      system: true,
      systemAnywhere: true,
      usersInARow: true,
      argumentsAs: 'object',
      takesBoth: true,
    });
    expect(new ChatTemplate('{{ tools[0].function.name }}{{ messages[0].content }}').traits).toMatchObject({
      tools: true,
    });
    const noSystem = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}";
    expect(new ChatTemplate(noSystem).traits).toMatchObject({ tools: false, system: false });
    // As Qwen3.5's and Mistral's do.
    const strict = `{% for message in messages %}
      {% if message.role == 'system' and not loop.first %}{{ raise_exception('no') }}{% endif %}
      {% if not loop.first and message.role == loop.previtem.role %}{{ raise_exception('in turn') }}{% endif %}
      {{ message.content }}{% endfor %}`;
    expect(new ChatTemplate(strict).traits).toMatchObject({ system: true, systemAnywhere: false, usersInARow: false });
    const firstOnly = `{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}
      {% for message in messages %}{% if message.role != 'system' %}{{ message.content }}{% endif %}{% endfor %}`;
    expect(new ChatTemplate(firstOnly).traits).toMatchObject({
      system: true,
      systemAnywhere: false,
      usersInARow: true,
    });
  });

  it('print the schema of a tool as it was sent, where its text is given', () => {
    const template = new ChatTemplate('{{ tools[0] | tojson }}');
    const tool = { type: 'function' as const, function: { name: 'f', parameters: { 9: {}, minimum: 1 } } };
    expect(template.renderChat([USER], { tools: [tool] })).toContain('{"9": {}, "minimum": 1}');
    const parametersJson = '{"minimum": 1.0, "9": {}}';
    const sent = template.renderChat([USER], { tools: [{ ...tool, parametersJson }] });
    expect(sent).toBe('{"type": "function", "function": {"name": "f", "parameters": {"minimum": 1.0, "9": {}}}}');
  });

  it('do not keep a template that fails with tools from plain chats', () => {
    const template = new ChatTemplate(
      "{% if tools %}{{ raise_exception('no tools') }}{% endif %}{{ messages[0].content }}",
    );
    expect(template.renderChat([USER])).toBe('Weather?');
    expect(template.traits.tools).toBe(false);
    expect(() => template.renderChat([USER], { tools: [TOOL] })).toThrow(/no tools/);
  });
});

describe('what is rendered beside the messages', () => {
  const template = new ChatTemplate(
    "{{ messages[-1].content }}|{{ tools is none }}|{{ effort if effort is defined else '-' }}|{{ add_generation_prompt }}",
    { bos_token: '<s>' },
    'with tools: {{ tools | length if tools else 0 }}',
  );

  it('are tools, a client’s variables and whether an answer is asked for', () => {
    expect(template.renderChat([USER])).toBe('Weather?|True|-|True');
    expect(
      template.renderChat([USER], { variables: { effort: 'low', messages: [] }, addGenerationPrompt: false }),
    ).toBe('Weather?|True|low|False');
  });

  it('takes the template for tools where there are tools, calls or results', () => {
    expect(template.renderChat([USER], { tools: [TOOL] })).toBe('with tools: 1');
    expect(template.renderChat([USER], { tools: [] })).toContain('Weather?');
    expect(template.renderChat([USER, { role: 'tool', content: 'sun', tool_call_id: 'a' }])).toBe('with tools: 0');
    expect(template.source).toContain('with tools');
  });

  it('refuses variables that are the server’s or no variables', () => {
    for (const name of ['messages', 'tools', 'bos_token', 'add_generation_prompt']) {
      expect(variablesFault({ [name]: 1 })).toMatch(/set by the server/);
    }
    expect(variablesFault({ __str: 1 })).toMatch(/not a variable/);
    expect(variablesFault({ 'a b': 1 })).toMatch(/not a variable/);
    expect(variablesFault({ enable_thinking: false, reasoning_effort: 'high' })).toBeUndefined();
  });
});

describe('the last message, continued', () => {
  const template = new ChatTemplate(
    '{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}',
  );
  const chat = (content: string): ChatMessage[] => [USER, { role: 'assistant', content }];

  it('ends the text with what it holds', () => {
    const continueFinalMessage = true;
    expect(template.renderChat(chat('Once upon'), { continueFinalMessage })).toBe(
      '<user>Weather?<end><assistant>Once upon',
    );
    expect(template.renderChat(chat(' Once '), { continueFinalMessage })).toBe('<user>Weather?<end><assistant>Once');
    // The markup has the same letters, and templates write more after it.
    for (const content of ['m', '<', 'end', 'assistant', 'e'])
      expect(template.renderChat(chat(content), { continueFinalMessage })).toBe(
        `<user>Weather?<end><assistant>${content}`,
      );
    const asIs = new ChatTemplate(
      '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}',
    );
    expect(asIs.renderChat(chat('m '), { continueFinalMessage })).toBe(
      '<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\nm ',
    );
    expect(() => template.renderChat(chat(' '), { continueFinalMessage })).toThrow(/cannot be continued/);
    expect(() => new ChatTemplate('x').renderChat(chat('Once'), { continueFinalMessage })).toThrow(
      /cannot be continued/,
    );
  });
});

describe('content', () => {
  it('that is null or absent is empty', () => {
    const template = new ChatTemplate("{% for m in messages %}[{{ m.content + '' }}]{% endfor %}");
    expect(template.renderChat([{ role: 'user', content: null }, USER])).toBe('[][Weather?]');
  });
});

describe('reasoning in history', () => {
  it('has every name that templates have for it', () => {
    const template = new ChatTemplate(
      '{% for m in messages %}{{ m.reasoning_content }},{{ m.reasoning }},{{ m.thinking }};{% endfor %}',
    );
    const assistant = { role: 'assistant', reasoning_content: 'hm' };
    expect(template.renderChat([{ ...assistant, content: null }, { ...assistant, content: 'Sun.' }, USER])).toBe(
      'hm,hm,hm;hm,hm,;,,;',
    );
  });
});

describe('"in"', () => {
  it('looks for any value in any value', () => {
    const template = new ChatTemplate(
      "{% set t = tools[0].function.t if tools else none %}{{ t in ['a', 'b'] }} {{ 'x' in t }} {{ 'role' in messages[0] }} " +
        "{{ 'eat' in messages[0].content }} {{ 1 not in [1, 2] }} {{ 'x' in nothing }}",
    );
    const tool = (t: unknown) => ({ type: 'function' as const, function: { name: 'f', t } });
    expect(template.renderChat([USER], { tools: [tool(['a', 'x'])] })).toBe('False True True True False False');
    expect(template.renderChat([USER], { tools: [tool('b')] })).toBe('True False True True False False');
  });
});

describe('a hostile conversation', () => {
  it('is refused where it goes too deep', () => {
    const deep = `{"a": ${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    expect(() => AS_OBJECT.renderChat(calling(deep))).toThrow(ModelError);
  });

  it('is refused where the template would take all memory for it, or complains at length', () => {
    const swelling = new ChatTemplate("{{ messages[0].content * 100000000 }}{{ raise_exception('never') }}");
    const said = { role: 'user', content: 'x' };
    expect(() => swelling.renderChat([said])).toThrow(
      'the chat template refuses these messages: it takes too many steps',
    );
    expect(() => swelling.renderChat([said], { maxSteps: 1_000 })).toThrow(TooManyStepsError);
    const complaining = new ChatTemplate("{{ raise_exception('x' * 100000) }}");
    expect(() => complaining.renderChat([said])).toThrow(/^the chat template refuses these messages: x{1000}$/);
  });

  it('sets no prototypes', () => {
    expect(ITEMS.renderChat(calling('{"__proto__": "x", "constructor": 1}'))).toContain('__proto__: x constructor: 1');
  });
});
