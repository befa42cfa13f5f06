import { execFile } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Operation, type RawDocument, readDocument } from '../../apps/console/src/docs/document.ts';
import { fieldsOf } from '../../apps/console/src/docs/fields.ts';
import { type Call, program } from '../../apps/console/src/docs/programs.ts';
import { openApiDocument } from '../../coordinator/src/http/openapi.ts';

/** What /docs shows, made from the document that the coordinator serves. */
const document = readDocument(
  openApiDocument({ version: '0.0.0', modelId: 'm', maxContext: 64, bodyBytes: 1e6 }) as unknown as RawDocument,
);
const run = promisify(execFile);

let recorder: Server;
let base: string;
const received: { method: string; path: string; secret: string; body: unknown }[] = [];

beforeAll(async () => {
  recorder = createServer(async (request, response) => {
    let text = '';
    for await (const part of request.setEncoding('utf8')) text += part;
    const { authorization, 'x-api-key': key } = request.headers;
    const secret = typeof key === 'string' ? key : (authorization ?? '').replace('Bearer ', '');
    const body = text === '' ? undefined : (JSON.parse(text) as { stream?: boolean });
    received.push({ method: request.method!, path: request.url!, secret, body });
    const type = body?.stream ? 'text/event-stream' : 'application/json';
    response.writeHead(200, { 'content-type': type }).end(body?.stream ? '' : '{}');
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => recorder.once('listening', resolve));
  base = `http://127.0.0.1:${(recorder.address() as AddressInfo).port}`;
});
afterAll(() => {
  recorder.closeAllConnections();
  recorder.close();
});

const SECRETS = { SHOAL_API_KEY: 'key', SHOAL_ADMIN_TOKEN: 'admin' };

/** Runs a module's text here, which is much sooner done than in a process of its own. */
async function runTypescript(source: string): Promise<void> {
  const { code } = await transform(source, { loader: 'ts', format: 'esm', target: 'es2022' });
  const inline = code.replaceAll(/^import (\w+) from "([^"]+)";$/gm, 'const { default: $1 } = await load("$2");');
  const AsyncFunction = (async () => {}).constructor as FunctionConstructor;
  const quiet = { log: () => {} };
  await new AsyncFunction('load', 'process', 'console', inline)(
    (name: string) => import(name),
    { env: SECRETS },
    quiet,
  );
}

const cases = document.operations.flatMap((operation) =>
  (operation.body?.examples ?? [{ name: '', value: undefined }]).map((example) => ({ operation, ...example })),
);

function callOf({ method, path, lock }: Operation, body: unknown): Call {
  const secret = lock === 'key' || lock === 'admin' ? lock : 'none';
  return { method, path, url: base + path, base, secret, ...(body !== undefined && { body }) };
}

describe('the programs of /docs', () => {
  it.each(['curl', 'TypeScript'] as const)('send each documented request in %s', async (language) => {
    for (const { operation, name, value } of cases) {
      const call = callOf(operation, value);
      const text = program(language, call);
      received.length = 0;
      if (language === 'curl')
        await run('sh', ['-c', text.replace('curl', 'curl -sg')], { env: { ...process.env, ...SECRETS } });
      else await runTypescript(text);
      const sent = { ...received[0], path: decodeURI(received[0]?.path ?? '') };
      const secret = call.secret === 'none' ? expect.stringMatching(/^(none)?$/) : call.secret;
      const { method, path } = operation;
      expect(sent, `${method} ${path} ${name}`).toMatchObject({
        method,
        path,
        secret,
        ...(value !== undefined && { body: value }),
      });
    }
  });
});

describe('what /docs says', () => {
  it('locks what is locked, and nothing else', () => {
    const locked = (lock: string) => document.operations.filter((one) => one.lock === lock).map(({ path }) => path);
    expect(locked('open').sort()).toEqual(
      ['/health', '/healthz', '/openapi.json', '/ping', '/readyz', '/shards/{sha256}', '/version'].sort(),
    );
    expect(locked('maybe-admin')).toEqual(['/metrics']);
    expect(locked('key').every((path) => path.startsWith('/v1/'))).toBe(true);
    expect(locked('admin').every((path) => path.startsWith('/admin/') || path.endsWith('_lora_adapter'))).toBe(true);
  });

  it('has each field of a request in words, also within lists', () => {
    const { body } = document.operations.find(({ id }) => id === 'post-v1-chat-completions')!;
    const rows = new Map(fieldsOf(body!.schema, document.schemas).map((row) => [row.name, row]));
    expect(rows.get('temperature')).toMatchObject({ type: 'number, 0 to 2', required: false });
    expect(rows.get('messages')).toMatchObject({ required: true });
    expect(rows.get('messages[].role')!.type).toContain('"system" or "developer" or "user"');
    for (const { type } of rows.values()) expect(type).not.toMatch(/undefined|9007199254740991|\[object/);
  });
});
