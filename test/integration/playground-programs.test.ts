import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  chatBody,
  initialChat,
  messagesOf,
  readSettings,
} from '../../apps/console/src/playground/chat/chat-request.ts';
import { exampleSchema, exampleTools } from '../../apps/console/src/playground/chat/json-checks.ts';
import { type Call, type Language, snippet } from '../../apps/console/src/playground/snippets/snippet.ts';
import { initialText, readText } from '../../apps/console/src/playground/text/text-request.ts';
import { chooseConvention } from '../../coordinator/src/conventions/index.ts';
import type { Grammar } from '../../coordinator/src/grammar/index.ts';
import { startServer, type TestServer } from '../../coordinator/src/http/testing/harness.ts';
import { ROOT_DIR } from '../../coordinator/src/index.ts';

/** The playground's programs, run as a developer runs them: as they were copied. */
const DEADLINE_MS = 60_000;
/** A Python with the openai package. Without one, units check that the programs' literals are Python's. */
const PYTHON = process.env['SHOAL_OPENAI_PYTHON'] ?? '';
const LANGUAGES: readonly Language[] = ['curl', 'TypeScript', ...(PYTHON === '' ? [] : ['Python' as const])];
const run = promisify(execFile);

const NASTY = `It's "late" \\ \`\${HOME}\` $(exit 3) !! %s {x} </script>\n\ttab\r Zürich 鱼 🐟\u2028 'end'`;
const ANSWER =
  '<think>\nThey greet.\n</think>\n\nGrüß Gott! 🐟<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>';

let server: TestServer;
let recorder: Server;
let origin: string;
/** What the programs sent. */
const received: { path: string; headers: IncomingHttpHeaders; body: unknown }[] = [];
let folder: string;

beforeEach(async () => {
  const constraint = { allowedDrafts: async () => 0, masks: async () => [], accept: () => {}, close: () => {} };
  server = await startServer(
    { script: () => ({ ids: [...Buffer.from(ANSWER)] }) },
    {
      convention: chooseConvention({ template: '<tool_call> <think> </think>' }),
      grammars: { compile: async () => ({ open: () => constraint }) as unknown as Grammar },
    },
  );
  received.length = 0;
  recorder = createServer((request, response) => void pass(request, response)).listen(0, '127.0.0.1');
  await new Promise((resolve) => recorder.once('listening', resolve));
  origin = `http://127.0.0.1:${(recorder.address() as AddressInfo).port}`;
  folder = mkdtempSync(join(tmpdir(), 'shoal-programs-'));
  symlinkSync(join(ROOT_DIR, 'node_modules'), join(folder, 'node_modules'));
});
afterEach(async () => {
  rmSync(folder, { recursive: true });
  recorder.close();
  recorder.closeAllConnections();
  await server.app.close();
});

/** Notes a request and passes it on to the coordinator's HTTP server. */
const pass: Parameters<typeof createServer>[1] & object = async (request, response) => {
  let text = '';
  for await (const part of request.setEncoding('utf8')) text += part;
  const path = request.url ?? '';
  received.push({ path, headers: request.headers, body: JSON.parse(text) });
  const headers = { 'content-type': request.headers['content-type'] ?? '' };
  const answer = await fetch(server.url + path, { method: 'POST', headers, body: text });
  response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
  response.end(await answer.text());
};

async function execute(language: Language, call: Call): Promise<{ stdout: string; stderr: string }> {
  const env = { ...process.env, SHOAL_API_KEY: 'secret' };
  const options = { env, timeout: DEADLINE_MS, cwd: ROOT_DIR };
  if (language === 'curl') return run('sh', ['-c', snippet('curl', call)], options);
  const file = join(folder, language === 'Python' ? 'call.py' : 'call.mts');
  writeFileSync(file, snippet(language, call));
  if (language === 'Python') return run(PYTHON, [file], options);
  return run(process.execPath, ['--import', 'tsx', file], options);
}

function textCall(): Call {
  const values = {
    ...initialText,
    prompt: NASTY,
    stop: "don't\nTHE \\n END",
    max_tokens: '500',
    seed: '7',
    logit_bias: '{"007": 1}',
    top_k: '40',
  };
  const read = readText(values, 'fake-model');
  if (!read.ok) throw new Error(JSON.stringify(read.faults));
  return { endpoint: 'text', origin, body: read.body, withKey: true, reasons: false };
}

/** A conversation with everything that the page can send. */
function chatCall(): Call {
  const tools = exampleTools.replace('Get the weather at a place.', "Tell “today's” weather: $5");
  const read = readSettings({ ...initialChat, tools, schema: exampleSchema, min_p: '0.1', enable_thinking: 'false' });
  if (!read.ok) throw new Error(JSON.stringify(read.faults));
  const call = { id: 'c1', name: 'get_weather', arguments: '{"city": "L\'Aquila"}', result: NASTY };
  const { messages } = messagesOf(NASTY, [
    { key: 1, role: 'user', content: NASTY },
    { key: 2, role: 'assistant', content: '', reasoning: NASTY, reasoningTokens: 1, calls: [call], asJson: false },
  ]);
  return {
    endpoint: 'chat',
    origin,
    body: chatBody('fake-model', messages, read.settings),
    withKey: false,
    reasons: true,
  };
}

describe.each(LANGUAGES)('the program in %s', (language) => {
  it('sends a text just as the page does, with the key, and prints the answer', async () => {
    const call = textCall();
    const { stdout } = await execute(language, call);
    expect(received).toMatchObject([{ path: '/v1/completions', headers: { authorization: 'Bearer secret' } }]);
    expect(received[0]?.body).toEqual(call.body);
    if (language === 'curl') expect(stdout).toMatch(/^data: \{.*data: \[DONE\]\n\n$/s);
    else expect(stdout).toBe(`${ANSWER}\n`);
  });

  it('sends a chat just as the page does, and prints reasoning, text and calls', async () => {
    const call = chatCall();
    const { stdout, stderr } = await execute(language, call);
    expect(received.map(({ path }) => path)).toEqual(['/v1/chat/completions']);
    expect(received[0]?.body).toEqual(call.body);
    if (language === 'curl') expect(stdout).toMatch(/"tool_calls".*data: \[DONE\]\n\n$/s);
    else {
      expect(stdout).toBe('Grüß Gott! 🐟\ncalls get_weather {"city": "Zürich"}\n\n');
      expect(stderr.trim()).toBe('They greet.');
    }
  });
});

it('gives programs that the TypeScript compiler takes', async () => {
  const bare: Call = { ...chatCall(), body: { model: 'm', messages: [{ role: 'user', content: 'Hi' }], stream: true } };
  for (const [i, call] of [textCall(), chatCall(), bare].entries()) {
    writeFileSync(join(folder, `call${i}.mts`), snippet('TypeScript', call));
  }
  const options = {
    target: 'es2023',
    module: 'nodenext',
    types: ['node'],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*.mts'] }));
  const compiler = join(ROOT_DIR, 'node_modules/typescript/bin/tsc');
  const complaints = await run(process.execPath, [compiler, '-p', folder], { timeout: DEADLINE_MS }).then(
    () => '',
    (error: { stdout?: string; message: string }) => error.stdout || error.message,
  );
  expect(complaints).toBe('');
});
