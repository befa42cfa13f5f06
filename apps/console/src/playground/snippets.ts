import type { CompletionBody } from './parameters.ts';

export type Language = 'curl' | 'Python' | 'TypeScript';
export const languages: readonly Language[] = ['curl', 'Python', 'TypeScript'];

/**
 * Returns the request as code; `origin` is where this page came from. The official clients require some key. A real one is read
 * from the environment, so that a shared snippet doesn't contain it.
 */
export function snippet(language: Language, origin: string, body: CompletionBody, withKey = false): string {
  if (language === 'curl') return curl(origin, body, withKey);
  return language === 'Python' ? python(origin, body, withKey) : typescript(origin, body, withKey);
}

function curl(origin: string, body: CompletionBody, withKey: boolean): string {
  const key = withKey ? `  -H "Authorization: Bearer $SHOAL_API_KEY" \\\n` : '';
  const json = JSON.stringify(body, null, 2).replaceAll("'", `'\\''`);
  return `curl -N ${origin}/v1/completions \\\n  -H 'Content-Type: application/json' \\\n${key}  -d '${json}'\n`;
}

function python(origin: string, body: CompletionBody, withKey: boolean): string {
  const literal = (value: unknown): string =>
    value === true ? 'True' : typeof value === 'object' ? pythonObject(value) : JSON.stringify(value);
  const pythonObject = (value: unknown): string =>
    Array.isArray(value)
      ? `[${value.map(literal).join(', ')}]`
      : `{${Object.entries(value ?? {})
          .map(([key, entry]) => `"${key}": ${literal(entry)}`)
          .join(', ')}}`;
  const lines = Object.entries(body).map(([key, value]) => `    ${key}=${literal(value)},`);
  const key = withKey ? 'os.environ["SHOAL_API_KEY"]' : '"none"';
  return `${withKey ? 'import os\n\n' : ''}from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=${key})
stream = client.completions.create(
${lines.join('\n')}
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].text, end="", flush=True)
`;
}

function typescript(origin: string, body: CompletionBody, withKey: boolean): string {
  const key = withKey ? 'process.env.SHOAL_API_KEY' : `'none'`;
  const literal = JSON.stringify(body, null, 2).replace(/^(\s*)"(\w+)":/gm, '$1$2:');
  return `import OpenAI from 'openai';

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: ${key} });
const stream = await client.completions.create(${literal});
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.text ?? '');
`;
}
