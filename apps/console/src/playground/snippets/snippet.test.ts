import { describe, expect, it } from 'vitest';
import { literal, python, typescript } from './literal.ts';
import { type Call, languages, snippet } from './snippet.ts';

const nasty = `It's "late" \\ \`\${HOME}\` $(rm) !! %s {x} #{y} </script>\n\ttab\r\u0000\u007f\u2028 Zürich 鱼 🐟 \ud800`;
const call = (change: Partial<Call> = {}): Call => ({
  endpoint: 'chat',
  origin: 'http://h',
  body: { model: 'tiny', messages: [{ role: 'user', content: nasty }], stream: true },
  withKey: false,
  reasons: false,
  ...change,
});

/** Undoes POSIX single quotes: a quoted part, an escaped quote, and so on. */
function unquote(word: string): string {
  expect(word).toMatch(/^('[^']*'|\\')+$/);
  return word.replaceAll(
    /'([^']*)'|\\(')/g,
    (_, inside: string | undefined, quote: string | undefined) => inside ?? quote ?? '',
  );
}

describe('curl', () => {
  it('quotes any body for the shell', () => {
    const data = snippet('curl', call()).split('\n  -d ')[1]?.trimEnd() ?? '';
    expect(JSON.parse(unquote(data))).toEqual(call().body);
  });
  it('reads the key from the environment', () => {
    expect(snippet('curl', call({ withKey: true }))).toContain('-H "Authorization: Bearer $SHOAL_API_KEY" \\\n');
    expect(snippet('curl', call())).not.toContain('Authorization');
  });
});

/** Reads a literal as JavaScript does, which quotes strings as Python does too. */
const evaluate = (text: string): unknown => new Function(`'use strict'; return (${text});`)();

describe('literals', () => {
  const values = [
    nasty,
    [],
    {},
    [[]],
    { a: [1, -2.5, 1e21, true, false, null] },
    { long: ['x'.repeat(60), 'y'.repeat(60)] },
  ];
  it.each(values)('mean the same as JSON in TypeScript: %j', (value) => {
    expect(evaluate(literal(value, typescript))).toEqual(value);
  });
  it('keep every key in TypeScript as it is', () => {
    const keys = JSON.parse('{"007": 1, "1e3": 2, "__proto__": 3, "a b": 4, "it\'s": 5, "class": 6, "": 7}') as object;
    const copy = evaluate(literal(keys, typescript)) as object;
    expect(JSON.stringify(copy)).toBe(JSON.stringify(keys));
  });
  it.each(values)('differ from JSON in Python only by three words: %j', (value) => {
    const text = literal(value, python);
    expect(text.replaceAll(/"(?:[^"\\]|\\.)*"/gs, '')).not.toMatch(/true|false|null/);
    const words = { True: 'true', False: 'false', None: 'null' } as const;
    const json = text
      .replaceAll(/("(?:[^"\\]|\\.)*")|True|False|None/gs, (word, string?: string) => string ?? words[word as 'True'])
      .replaceAll(/("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])/gs, (_, string?: string) => string ?? '');
    expect(JSON.parse(json)).toEqual(value);
  });
});

describe('Python', () => {
  it('sends extensions apart, and prints calls and reasoning', () => {
    const body = {
      model: 'm',
      messages: [],
      tools: [],
      top_k: 5,
      chat_template_kwargs: { enable_thinking: false },
      stream: true,
    };
    const program = snippet('Python', call({ body, reasons: true, withKey: true }));
    expect(program).toContain('    extra_body={"top_k": 5, "chat_template_kwargs": {"enable_thinking": False}},\n');
    expect(program).toContain('import os\nimport sys\nfrom openai import OpenAI\n');
    expect(program).toContain('api_key=os.environ["SHOAL_API_KEY"]');
    expect(program).toContain('delta.tool_calls');
    expect(program).toContain('"reasoning_content"');
    expect(snippet('Python', call())).not.toMatch(/extra_body|tool_calls|reasoning_content|import os/);
  });
});

describe('TypeScript', () => {
  it('tells the compiler of what the client’s types lack, and only then', () => {
    const cast = ' as OpenAI.ChatCompletionCreateParamsStreaming';
    expect(snippet('TypeScript', call())).not.toContain(cast);
    expect(snippet('TypeScript', call({ body: { ...call().body, top_k: 5 } }))).toContain(cast);
    const thought = { role: 'assistant', content: 'x', reasoning_content: 'y' };
    expect(snippet('TypeScript', call({ body: { ...call().body, messages: [thought] } }))).toContain(cast);
  });
});

it.each(languages)('embeds texts in %s', (language) => {
  const body = { model: 'm', input: [nasty, 'b'] };
  const program = snippet(language, call({ endpoint: 'embeddings', body, withKey: true }));
  expect(program).toContain(language === 'curl' ? '/v1/embeddings ' : 'client.embeddings.create(');
  expect(program).toContain('SHOAL_API_KEY');
  expect(program).not.toContain('completions');
});

it.each(languages)('calls the completions of a text in %s', (language) => {
  const body = { model: 'm', prompt: nasty, stream: true };
  const program = snippet(language, call({ endpoint: 'text', body }));
  expect(program).toContain(language === 'curl' ? '/v1/completions ' : 'client.completions.create(');
  expect(program).not.toContain('chat');
});
