import type { CompletionBody } from './parameters.ts';

export type Language = 'curl' | 'Python' | 'TypeScript';
export const languages: readonly Language[] = ['curl', 'Python', 'TypeScript'];

/** The same request for use elsewhere; `origin` is where this page came from. The official clients want some key. */
export function snippet(language: Language, origin: string, body: CompletionBody): string {
  if (language === 'curl') return curl(origin, body);
  return language === 'Python' ? python(origin, body) : typescript(origin, body);
}

function curl(origin: string, body: CompletionBody): string {
  const json = JSON.stringify(body, null, 2).replaceAll("'", `'\\''`);
  return `curl -N ${origin}/v1/completions \\\n  -H 'Content-Type: application/json' \\\n  -d '${json}'\n`;
}

function python(origin: string, body: CompletionBody): string {
  const literal = (value: unknown): string =>
    value === true ? 'True' : typeof value === 'object' ? pythonObject(value) : JSON.stringify(value);
  const pythonObject = (value: unknown): string =>
    Array.isArray(value)
      ? `[${value.map(literal).join(', ')}]`
      : `{${Object.entries(value ?? {})
          .map(([key, entry]) => `"${key}": ${literal(entry)}`)
          .join(', ')}}`;
  const lines = Object.entries(body).map(([key, value]) => `    ${key}=${literal(value)},`);
  return `from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key="none")
stream = client.completions.create(
${lines.join('\n')}
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].text, end="", flush=True)
`;
}

function typescript(origin: string, body: CompletionBody): string {
  const literal = JSON.stringify(body, null, 2).replace(/^(\s*)"(\w+)":/gm, '$1$2:');
  return `import OpenAI from 'openai';

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: 'none' });
const stream = await client.completions.create(${literal});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.text ?? '');
`;
}
