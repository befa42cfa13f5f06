import { literal, python, type Syntax, typescript } from '../playground/snippets/literal.ts';
import { type Language, officialNames, shellQuoted } from '../playground/snippets/snippet.ts';

/** One request, for which programs are written. */
export interface Call {
  method: string;
  /** As the document has it, with its parameters in braces. */
  path: string;
  /** Where it is sent, parameters filled in. */
  url: string;
  /** Of the API, without a slash at its end: `http://localhost:8787`. */
  base: string;
  /** Undefined of a request without one. */
  body?: unknown;
  /** Which secret it has, read from the environment, so that a shared program doesn't contain it. */
  secret: 'none' | 'key' | 'admin';
  /** Whether the answer is bytes that no terminal should get. */
  isBinary?: boolean;
}

const VARIABLES = { key: 'SHOAL_API_KEY', admin: 'SHOAL_ADMIN_TOKEN' } as const;

/** Functions of the official clients for what they have. */
const CLIENTS: Readonly<Record<string, { client: 'openai' | 'anthropic'; python: string; typescript: string }>> = {
  '/v1/completions': { client: 'openai', python: 'completions.create', typescript: 'completions.create' },
  '/v1/chat/completions': {
    client: 'openai',
    python: 'chat.completions.create',
    typescript: 'chat.completions.create',
  },
  '/v1/embeddings': { client: 'openai', python: 'embeddings.create', typescript: 'embeddings.create' },
  '/v1/responses': { client: 'openai', python: 'responses.create', typescript: 'responses.create' },
  '/v1/responses/input_tokens': {
    client: 'openai',
    python: 'responses.input_tokens.count',
    typescript: 'responses.inputTokens.count',
  },
  '/v1/messages': { client: 'anthropic', python: 'messages.create', typescript: 'messages.create' },
  '/v1/messages/count_tokens': {
    client: 'anthropic',
    python: 'messages.count_tokens',
    typescript: 'messages.countTokens',
  },
};

/** The request as a program that runs as it is, and prints the answer. */
export function program(language: Language, call: Call): string {
  if (language === 'curl') return curl(call);
  const client = call.method === 'POST' && isObject(call.body) ? CLIENTS[call.path] : undefined;
  if (language === 'Python') return client ? pythonClient(call, client) : pythonPlain(call);
  return client ? typescriptClient(call, client) : typescriptPlain(call);
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isStream = ({ body }: Call): boolean => isObject(body) && body['stream'] === true;

function curl(call: Call): string {
  const { method, url, body, secret, isBinary } = call;
  const options = `${isStream(call) ? '-N ' : ''}${method === 'GET' ? '' : `-X ${method} `}`;
  const parts = [
    `curl ${options}${shellQuoted(url)}`,
    ...(secret === 'none' ? [] : [`  -H "Authorization: Bearer $${VARIABLES[secret]}"`]),
    ...(body === undefined
      ? []
      : [`  -H 'Content-Type: application/json'`, `  -d ${shellQuoted(JSON.stringify(body, null, 2))}`]),
    ...(isBinary ? ['  -o answer.bin'] : []),
  ];
  return `${parts.join(' \\\n')}\n`;
}

type Client = (typeof CLIENTS)[string];

function pythonClient(call: Call, { client, python: create }: Client): string {
  const { base, secret } = call;
  const body = call.body as Record<string, unknown>;
  const name = client === 'openai' ? 'OpenAI' : 'Anthropic';
  const entries = Object.entries(body);
  const extra = entries.filter(([key]) => !officialNames.has(key));
  const named = entries.filter(([key]) => officialNames.has(key));
  const all = extra.length > 0 ? [...named, ['extra_body', Object.fromEntries(extra)] as const] : named;
  const lines = all.map(([key, value]) => `    ${key}=${literal(value, python, '    ')},\n`).join('');
  const key = secret === 'none' ? '"none"' : `os.environ["${VARIABLES[secret]}"]`;
  const show = isStream(call)
    ? 'for event in answer:\n    print(event.to_json(indent=None), flush=True)\n'
    : 'print(answer.to_json())\n';
  return `# pip install ${client}
${secret === 'none' ? '' : 'import os\n'}from ${client} import ${name}

client = ${name}(base_url="${baseOf(client, base)}", api_key=${key})
answer = client.${create}(
${lines})
${show}`;
}

function typescriptClient(call: Call, { client, typescript: create }: Client): string {
  const { base, secret, body } = call;
  const [name, module] = client === 'openai' ? ['OpenAI', 'openai'] : ['Anthropic', '@anthropic-ai/sdk'];
  const key = secret === 'none' ? "'none'" : `process.env.${VARIABLES[secret]}`;
  // The clients send what their types don't know, but the compiler must be told.
  const isTyped = Object.keys(body as object).every((one) => officialNames.has(one));
  const object = literal(body, typescript);
  const show = isStream(call)
    ? 'for await (const event of answer) console.log(JSON.stringify(event));\n'
    : 'console.log(JSON.stringify(answer, null, 2));\n';
  const cast = isTyped ? '' : ` as Parameters<typeof client.${create}>[0]`;
  // A cast body no longer says whether the answer is a stream.
  const answer = isTyped || !isStream(call) ? 'answer' : 'stream';
  const stream = isTyped || !isStream(call) ? '' : 'const answer = stream as AsyncIterable<unknown>;\n';
  return `// npm install ${module}, save this as call.mts, then: npx tsx call.mts
import ${name} from '${module}';

const client = new ${name}({ baseURL: '${baseOf(client, base)}', apiKey: ${key} });
const ${answer} = await client.${create}(${object}${cast});
${stream}${show}`;
}

/** Anthropic's clients add /v1 themselves. */
function baseOf(client: Client['client'], base: string): string {
  return client === 'openai' ? `${base}/v1` : base;
}

function pythonPlain({ method, url, body, secret, isBinary }: Call): string {
  const headers = headersOf(secret, body, (name) => `"Bearer " + os.environ["${name}"]`, python);
  const imports = [...(body === undefined ? [] : ['json']), ...(secret === 'none' ? [] : ['os'])];
  return `${imports.map((name) => `import ${name}\n`).join('')}from urllib.request import Request, urlopen

request = Request(
    ${JSON.stringify(url)},
    method="${method}",
    headers=${headers},
${body === undefined ? '' : `    data=json.dumps(${literal(body, python, '    ')}).encode(),\n`})
with urlopen(request) as answer:
    print(${isBinary ? 'len(answer.read()), "bytes"' : 'answer.read().decode()'})
`;
}

function typescriptPlain({ method, url, body, secret, isBinary }: Call): string {
  const headers = headersOf(secret, body, (name) => `\`Bearer \${process.env.${name}}\``, typescript);
  const fields = [
    `  method: '${method}',\n  headers: ${headers},\n`,
    body === undefined ? '' : `  body: JSON.stringify(${literal(body, typescript, '  ')}),\n`,
  ];
  return `// Save this as call.mts, then: npx tsx call.mts
const answer = await fetch(${JSON.stringify(url)}, {
${fields.join('')}});
console.log(answer.status, ${isBinary ? '(await answer.arrayBuffer()).byteLength, "bytes"' : 'await answer.text()'});
`;
}

function headersOf(secret: Call['secret'], body: unknown, bearer: (name: string) => string, syntax: Syntax): string {
  const lines = [
    ...(secret === 'none' ? [] : [`${syntax.key('Authorization')}: ${bearer(VARIABLES[secret])}`]),
    ...(body === undefined ? [] : [`${syntax.key('Content-Type')}: "application/json"`]),
  ];
  return lines.length === 0 ? '{}' : `{ ${lines.join(', ')} }`;
}
