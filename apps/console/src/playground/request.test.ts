import { describe, expect, it } from 'vitest';
import { type CompletionBody, type Form, readForm } from './parameters.ts';
import { snippet } from './snippets.ts';

const form: Form = { prompt: 'Once', temperature: '0.8', topP: '1', maxTokens: '64', seed: '', stop: '' };

function body(change: Partial<Form> = {}): CompletionBody {
  const read = readForm({ ...form, ...change }, 'tiny');
  if (!read.ok) throw new Error(JSON.stringify(read.errors));
  return read.body;
}

describe('the form', () => {
  it('leaves out what was left empty', () => {
    expect(body()).toEqual({
      model: 'tiny',
      prompt: 'Once',
      max_tokens: 64,
      temperature: 0.8,
      top_p: 1,
      stream: true,
      stream_options: { include_usage: true },
    });
  });
  it('reads a seed and stop texts, one a line', () => {
    expect(body({ seed: '-7', stop: 'The end\n\\n\\n\n' })).toMatchObject({ seed: -7, stop: ['The end', '\n\n'] });
  });
  it('names every field that is wrong', () => {
    const bad = { prompt: '', temperature: '3', topP: '0', maxTokens: '1.5', seed: 'x', stop: 'a\nb\nc\nd\ne' };
    const read = readForm(bad, 'tiny');
    expect(read.ok ? [] : Object.keys(read.errors).sort()).toEqual(Object.keys(form).sort());
    expect(readForm({ ...form, temperature: ' ' }, 'tiny').ok).toBe(false);
  });
});

describe('snippets', () => {
  const quoted = body({ prompt: `It's "late"\n`, stop: 'end' });
  it('quotes for the shell', () => {
    expect(snippet('curl', 'http://h', quoted)).toContain(`"prompt": "It'\\''s \\"late\\"\\n"`);
  });
  it('speaks Python', () => {
    const python = snippet('Python', 'http://h', quoted);
    expect(python).toContain('base_url="http://h/v1"');
    expect(python).toContain('stream_options={"include_usage": True}');
    expect(python).toContain('stop=["end"]');
    expect(python).toContain(`prompt="It's \\"late\\"\\n"`);
  });
  it('speaks TypeScript', () => {
    const ts = snippet('TypeScript', 'http://h', quoted);
    expect(ts).toContain("baseURL: 'http://h/v1'");
    expect(ts).toContain('  max_tokens: 64,');
    expect(ts).toContain('include_usage: true');
  });
});
