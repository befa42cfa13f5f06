import { literal, python, typescript } from './literal.ts';

export type Language = 'curl' | 'Python' | 'TypeScript';
export const languages: readonly Language[] = ['curl', 'Python', 'TypeScript'];

export interface Call {
  endpoint: 'chat' | 'text' | 'embeddings';
  /** Where this page came from. */
  origin: string;
  body: Record<string, unknown>;
  /** The key is read from the environment, so that a shared program doesn't contain it. */
  withKey: boolean;
  /** Whether the model's answers have reasoning apart from their text. */
  reasons: boolean;
}

/** Returns the request as a program that runs as it is, and prints the answer while it comes. */
export function snippet(language: Language, call: Call): string {
  if (language === 'curl') return curl(call);
  if (call.endpoint === 'embeddings') return embeddingsProgram(language, call);
  return language === 'Python' ? pythonProgram(call) : typescriptProgram(call);
}

const paths = { chat: '/v1/chat/completions', text: '/v1/completions', embeddings: '/v1/embeddings' } as const;

function curl({ endpoint, origin, body, withKey }: Call): string {
  const key = withKey ? `  -H "Authorization: Bearer $SHOAL_API_KEY" \\\n` : '';
  return `curl -N ${origin}${paths[endpoint]} \\\n  -H 'Content-Type: application/json' \\\n${key}  -d ${shellQuoted(JSON.stringify(body, null, 2))}\n`;
}

/** In single quotes, a POSIX shell leaves everything as it is but a single quote. */
export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Prints how many values each text has, and the cosine of the first two. */
function embeddingsProgram(language: Exclude<Language, 'curl'>, { origin, body, withKey }: Call): string {
  if (language === 'Python') {
    const lines = Object.entries(body).map(([name, value]) => `    ${name}=${literal(value, python, '    ')},\n`);
    return `# pip install openai
${withKey ? 'import os\n' : ''}from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=${withKey ? 'os.environ["SHOAL_API_KEY"]' : '"none"'})
answer = client.embeddings.create(
${lines.join('')})
vectors = [entry.embedding for entry in answer.data]
print([len(vector) for vector in vectors], answer.usage.total_tokens, "tokens")
if len(vectors) > 1:
    print("cosine", sum(a * b for a, b in zip(vectors[0], vectors[1])))
`;
  }
  return `// npm install openai, save this as call.mts, then: npx tsx call.mts
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: ${withKey ? 'process.env.SHOAL_API_KEY' : "'none'"} });
const { data, usage } = await client.embeddings.create(${literal(body, typescript)});
const vectors = data.map(({ embedding }) => embedding);
console.log(vectors.map(({ length }) => length), usage.total_tokens, 'tokens');
const [first, second] = vectors;
if (first && second) console.log('cosine', first.reduce((sum, value, i) => sum + value * (second[i] ?? 0), 0));
`;
}

/** What the official clients' functions take by name; the rest are extensions. */
export const officialNames: ReadonlySet<string> = new Set(
  (
    'model messages prompt tools tool_choice parallel_tool_calls response_format temperature top_p max_tokens ' +
    'max_completion_tokens seed stop n logprobs top_logprobs presence_penalty frequency_penalty logit_bias ' +
    'reasoning_effort stream stream_options echo suffix input dimensions encoding_format max_output_tokens ' +
    'previous_response_id instructions system stop_sequences'
  ).split(' '),
);

const isOfficial = ([name]: [string, unknown]): boolean => officialNames.has(name);

function pythonProgram({ endpoint, origin, body, withKey, reasons }: Call): string {
  const entries = Object.entries(body);
  const official = entries.filter(isOfficial);
  const extra = entries.filter((entry) => !isOfficial(entry));
  const named = extra.length > 0 ? [...official, ['extra_body', Object.fromEntries(extra)] as const] : official;
  const lines = named.map(([name, value]) => `    ${name}=${literal(value, python, '    ')},\n`).join('');
  const imports = [...(withKey ? ['os'] : []), ...(endpoint === 'chat' && reasons ? ['sys'] : [])];
  const create = endpoint === 'chat' ? 'chat.completions' : 'completions';
  return `# pip install openai
${imports.map((name) => `import ${name}\n`).join('')}from openai import OpenAI

client = OpenAI(base_url="${origin}/v1", api_key=${withKey ? 'os.environ["SHOAL_API_KEY"]' : '"none"'})
stream = client.${create}.create(
${lines})
${endpoint === 'chat' ? pythonChat(body, reasons) : PYTHON_TEXT}print()
`;
}

const PYTHON_TEXT = `for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].text, end="", flush=True)
`;

function pythonChat(body: Call['body'], reasons: boolean): string {
  const hasTools = body['tools'] !== undefined;
  const reasoning = `    print(getattr(delta, "reasoning_content", None) or "", end="", flush=True, file=sys.stderr)\n`;
  const collect = `    for part in delta.tool_calls or []:
        call = calls.setdefault(part.index, {"name": "", "arguments": ""})
        call["name"] += part.function.name or ""
        call["arguments"] += part.function.arguments or ""
`;
  const show = `for call in calls.values():
    print("\\ncalls", call["name"], call["arguments"])
`;
  return `${hasTools ? 'calls = {}\n' : ''}for chunk in stream:
    if not chunk.choices:
        continue
    delta = chunk.choices[0].delta
${reasons ? reasoning : ''}    print(delta.content or "", end="", flush=True)
${hasTools ? `${collect}${show}` : ''}`;
}

function typescriptProgram({ endpoint, origin, body, withKey, reasons }: Call): string {
  const create = endpoint === 'chat' ? 'chat.completions' : 'completions';
  const params = endpoint === 'chat' ? 'ChatCompletionCreateParamsStreaming' : 'CompletionCreateParamsStreaming';
  // The client sends what its types don't know, but the compiler must be told.
  const cast = isTyped(body) ? '' : ` as OpenAI.${params}`;
  const object = literal(body, typescript);
  return `// npm install openai, save this as call.mts, then: npx tsx call.mts
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: ${withKey ? 'process.env.SHOAL_API_KEY' : "'none'"} });
const stream = await client.${create}.create(${object}${cast});
${endpoint === 'chat' ? typescriptChat(body, reasons) : TYPESCRIPT_TEXT}process.stdout.write('\\n');
`;
}

/** Whether the official client's types have all of it. */
function isTyped(body: Call['body']): boolean {
  const messages = Array.isArray(body['messages']) ? (body['messages'] as object[]) : [];
  return Object.entries(body).every(isOfficial) && !messages.some((message) => 'reasoning_content' in message);
}

const TYPESCRIPT_TEXT = `for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.text ?? '');
`;

function typescriptChat(body: Call['body'], reasons: boolean): string {
  const hasTools = body['tools'] !== undefined;
  const reasoning = `  const { reasoning_content: reasoning } = (delta ?? {}) as { reasoning_content?: string };
  process.stderr.write(reasoning ?? '');
`;
  const collect = `  for (const part of delta?.tool_calls ?? []) {
    const call = (calls[part.index] ??= { name: '', arguments: '' });
    call.name += part.function?.name ?? '';
    call.arguments += part.function?.arguments ?? '';
  }
`;
  const show = `for (const call of calls) console.log('\\ncalls', call.name, call.arguments);
`;
  return `${hasTools ? 'const calls: { name: string; arguments: string }[] = [];\n' : ''}for await (const chunk of stream) {
  const delta = chunk.choices[0]?.delta;
${reasons ? reasoning : ''}  process.stdout.write(delta?.content ?? '');
${hasTools ? collect : ''}}
${hasTools ? show : ''}`;
}
