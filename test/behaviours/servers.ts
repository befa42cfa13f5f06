import OpenAI from 'openai';
import { ApiKeys } from '../../coordinator/src/access/api-keys.ts';
import { accessFixture, entry } from '../../coordinator/src/access/testing/fixtures.ts';
import { chooseConvention } from '../../coordinator/src/conventions/index.ts';
import { type Grammar, GrammarError, type GrammarSource } from '../../coordinator/src/grammar/index.ts';
import type { HttpDeps } from '../../coordinator/src/http/index.ts';
import { byteCodec } from '../../coordinator/src/http/testing/byte-codec.ts';
import type { FakeScript } from '../../coordinator/src/http/testing/fake-generation.ts';
import { startServer, type TestServer } from '../../coordinator/src/http/testing/harness.ts';
import type { GenerationRequest } from '../../coordinator/src/scheduler/generation.ts';
import type { EncodeTask } from '../../coordinator/src/text/encode-task.ts';
import { assert, type Json } from './check.ts';

/** An answer with its JSON, or its text where it is no JSON. */
export interface Answer {
  status: number;
  headers: Headers;
  body: Json;
}

export interface StreamEvent {
  /** The event's name, where it has one. */
  name?: string;
  /** Its JSON, or `[DONE]`. */
  data: Json;
}

/** What a program sends to a server. */
export class Client {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  /** The official client. */
  get openai(): OpenAI {
    return new OpenAI({ baseURL: `${this.url}/v1`, apiKey: 'any', maxRetries: 0 });
  }

  async send(method: string, path: string, headers: Record<string, string> = {}, body?: unknown): Promise<Answer> {
    const response = await fetch(this.url + path, {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: parsed(text) };
  }

  get(path: string, headers?: Record<string, string>): Promise<Answer> {
    return this.send('GET', path, headers);
  }

  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer> {
    return this.send('POST', path, headers, body);
  }

  /** The document of a request that must be answered. */
  async ok(path: string, body: object): Promise<Json> {
    const answer = await this.post(path, body);
    assert.equal(answer.status, 200, JSON.stringify(answer.body).slice(0, 500));
    return answer.body;
  }

  /** The error of a request that must be refused. */
  async refused(path: string, body: unknown, status = 400): Promise<Json> {
    const answer = await this.post(path, body);
    assert.equal(answer.status, status, JSON.stringify(answer.body).slice(0, 500));
    return answer.body.error;
  }

  /** The events of a streamed answer. */
  async stream(path: string, body: object): Promise<StreamEvent[]> {
    const response = await fetch(this.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ...body, stream: true }),
    });
    const text = await response.text();
    assert.equal(response.status, 200, text.slice(0, 500));
    return text
      .split('\n\n')
      .map((event) => event.split('\n').filter((line) => line !== '' && !line.startsWith(':')))
      .filter((lines) => lines.length > 0)
      .map((lines) => {
        const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        const name = field('event');
        return { ...(name !== undefined && { name }), data: parsed(field('data') ?? '') };
      });
  }

  /** The chunks of one of OpenAI's older endpoints, without the `[DONE]` that must end them. */
  async chunks(path: string, body: object): Promise<Json[]> {
    const events = await this.stream(path, body);
    assert.equal(events.pop()?.data, '[DONE]');
    return events.map(({ data }) => data);
  }

  /** The single choice of a chat answer. */
  async chat(body: object): Promise<Json> {
    return (await this.ok('/v1/chat/completions', chat(body))).choices[0];
  }

  /** The single choice of a completion, the same each time. */
  async complete(body: object): Promise<Json> {
    return (await this.ok('/v1/completions', { prompt: STORY, max_tokens: 8, seed: 1, ...body })).choices[0];
  }
}

export const STORY = 'Once upon a time';

/** A chat request with one message, whose answer is the same each time. */
export function chat(more: object): object {
  return { messages: [{ role: 'user', content: STORY }], max_tokens: 16, seed: 1, ...more };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

export interface Script {
  /** What the model answers: a text with markup, or token ids. */
  says: string | ((request: GenerationRequest) => FakeScript);
  /** Of the chat template, which tells the convention; by default Hermes' calls and `<think>`. */
  template?: string;
  maxContext?: number;
  /** Clients must send the key `key-of-ann`. */
  keys?: boolean;
  /** Why no grammar can be compiled. */
  refuses?: GrammarError;
  deps?: Partial<HttpDeps>;
}

/** A server whose model answers by a script, and what it was asked. */
export class Scripted extends Client {
  readonly server: TestServer;
  /** Conversations and texts, as they are given to the tokenizer. */
  readonly rendered: EncodeTask[];
  readonly compiled: GrammarSource[];

  constructor(server: TestServer, rendered: EncodeTask[], compiled: GrammarSource[]) {
    super(server.url);
    this.server = server;
    this.rendered = rendered;
    this.compiled = compiled;
  }

  /** The last conversation. */
  get conversation(): Json {
    return this.rendered.findLast((task) => 'messages' in task);
  }

  get submitted(): readonly GenerationRequest[] {
    return this.server.generation.submitted;
  }

  /** Forgets what it was asked. */
  forget(): void {
    for (const list of [this.rendered, this.compiled, this.server.generation.submitted]) list.length = 0;
    this.server.generation.cancelled = 0;
  }
}

/** The servers that behaviours are tried on. */
export interface Servers {
  /** A coordinator with the default model. */
  tiny: Client;
  /** A server for one test; with another script it is another one, or the same with that script. */
  scripted(script: Script | string): Promise<Scripted>;
}

/** Starts scripted servers, and reuses one where only the answer differs. */
export class ScriptedServers {
  #shared: Scripted | undefined;
  #script: Script = { says: '' };
  #others: Scripted[] = [];

  async start(script: Script | string): Promise<Scripted> {
    const given = typeof script === 'string' ? { says: script } : script;
    if (Object.keys(given).length === 1) {
      this.#script = given;
      this.#shared ??= await startScripted(() => this.#script);
      this.#shared.forget();
      return this.#shared;
    }
    const server = await startScripted(() => given);
    this.#others.push(server);
    return server;
  }

  /** Ends those that no other test uses. */
  async endOthers(): Promise<void> {
    for (const { server } of this.#others.splice(0)) await server.app.close();
  }

  async end(): Promise<void> {
    await this.endOthers();
    await this.#shared?.server.app.close();
  }
}

async function startScripted(script: () => Script): Promise<Scripted> {
  const { template = HERMES, maxContext = 4096, keys = false, refuses, deps } = script();
  const rendered: EncodeTask[] = [];
  const compiled: GrammarSource[] = [];
  const codec = byteCodec();
  const server = await startServer(
    { script: (request) => answerOf(script(), request), maxContext },
    {
      convention: chooseConvention({ template }),
      templateTraits: TRAITS,
      codec: { ...codec, encode: (task, client) => (rendered.push(task), codec.encode(task, client)) },
      grammars: { compile: async (source) => compile(source, compiled, refuses) },
      ...(keys && { access: accessByKey() }),
      ...deps,
    },
  );
  return new Scripted(server, rendered, compiled);
}

function answerOf({ says }: Script, request: GenerationRequest): FakeScript {
  return typeof says === 'string' ? { ids: [...Buffer.from(says)] } : says(request);
}

/** What a template contains for calls in Hermes' convention, and for reasoning. */
const HERMES = '<tool_call>{"name": } <think> </think>';

/** Of a template that prints whatever it is given. */
export const TRAITS: NonNullable<HttpDeps['templateTraits']> = {
  tools: true,
  calls: true,
  system: true,
  systemAnywhere: true,
  usersInARow: true,
  argumentsAs: 'string',
  takesBoth: false,
};

/** A grammar that allows all: scripts say what fits. */
function compile(source: GrammarSource, compiled: GrammarSource[], refuses: GrammarError | undefined): Grammar {
  if (refuses) throw refuses;
  compiled.push(source);
  const constraint = { allowedDrafts: async () => 0, masks: async () => [], accept: () => {}, close: () => {} };
  return { open: () => constraint } as unknown as Grammar;
}

function accessByKey(): NonNullable<HttpDeps['access']> {
  return {
    keys: new ApiKeys(accessFixture().open({ apiKeys: [entry('ann', 'key-of-ann')] })),
    takeShardBytes: () => 0,
    refuseMetrics: () => undefined,
    refuseOperator: () => undefined,
    addressOf: () => '127.0.0.1',
  };
}

export { GrammarError };
