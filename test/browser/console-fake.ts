import { createReadStream } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import {
  type AccessView,
  commandSchema,
  type Command,
  type CommandReply,
  type ConsoleEvent,
  type ConsoleRole,
  type ConsoleSnapshot,
  type LabRequest,
} from '@shoal/protocol';
import { Server as SocketServer } from 'socket.io';
import { openApiDocument } from '../../coordinator/src/http/openapi.ts';
import { answerChat, type ChatScript, type FakeFacts, modelEntry } from './console-fake-chat.ts';
import { answerAdmin, fakeAccess } from './console-fake-access.ts';
import { storyTokens } from './console-fake-data.ts';
import { fakeLabFacts, fakeStudy } from './console-fake-lab.ts';

/** The strictest policy that a proxy may set; a page that breaks it logs an error, which fails the test. */
const policy = "default-src 'self'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'";

export type Story = 'whole' | 'error-inside' | 'endless' | 'queue-full' | 'hang-up';

/** The console's pages, which `npm test` builds where their sources have changed. */
export const PAGES = join(import.meta.dirname, '../../apps/console/dist');

/** Stands in for the coordinator as the pages see it: documents, socket.io `/console`, models and completions. */
export class FakeCoordinator {
  readonly token = 'right-token';
  readonly commands: Command[] = [];
  /** Bodies of the completions asked for, and how many of them the client broke off. */
  readonly asked: Record<string, unknown>[] = [];
  hungUp = 0;
  story: Story = 'whole';
  /** Answers to chat requests, in order. */
  chats: ChatScript[] = [];
  /** What /v1/models says of the model. */
  facts: FakeFacts = { convention: 'hermes', tools: 'template', reasoning: true };
  /** Names of the model's adapters. */
  adapters: readonly string[] = [];
  /** Sent in x-shoal-ignored-parameters, if set. */
  ignored: string | undefined;
  layers: readonly number[] = [1, 2, 3, 4, 5];
  tokenDelayMs = 2;
  /** An answer continues after its third token once this is settled. */
  afterThird: Promise<void> = Promise.resolve();
  onCommand: (command: Command) => CommandReply = () => ({ ok: true });
  labFacts = fakeLabFacts();
  /** Why a text is not looked at in the lab. */
  onStudy: (request: LabRequest) => { status: number; message: string; param: string | null } | undefined = () =>
    undefined;
  /** Sent to consoles that sign in, if set. */
  role: ConsoleRole | undefined;
  /** Required by the API, if set. */
  apiKey: string | undefined;
  events: ConsoleEvent[] = [];
  access = fakeAccess();
  /** What was asked under /admin, but for what only reads. */
  readonly admin: { method: string; path: string; body: unknown }[] = [];
  /** Why nothing can be changed under /admin, if set. */
  adminRefusal: string | undefined;
  openApi = openApiDocument({ version: '0.0.0', modelId: 'tiny-stories', maxContext: 2048, bodyBytes: 1_000_000 });
  snapshot: ConsoleSnapshot;
  url = '';

  readonly #pages: string;
  #http: Server;
  #sockets: SocketServer;
  #port = 0;
  #tick: NodeJS.Timeout | undefined;

  constructor(pages: string, snapshot: ConsoleSnapshot) {
    this.#pages = pages;
    this.snapshot = snapshot;
    [this.#http, this.#sockets] = this.#make();
  }

  /** A second call after `stop` listens on the same port again, as a restarted coordinator does. */
  async start(): Promise<void> {
    if (this.#port !== 0) [this.#http, this.#sockets] = this.#make();
    await new Promise<void>((resolve) => this.#http.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#http.address() as AddressInfo).port;
    this.url = `http://127.0.0.1:${this.#port}`;
    this.#tick = setInterval(() => this.show(this.snapshot), 1_000);
  }

  async stop(): Promise<void> {
    clearInterval(this.#tick);
    const closed = this.#sockets.close();
    this.#http.closeAllConnections();
    await closed;
  }

  show(snapshot: ConsoleSnapshot): void {
    this.snapshot = snapshot;
    this.#sockets.of('/console').emit('snapshot', snapshot);
  }

  /** Other rules of access, as another console has made them. */
  tellAccess(access: AccessView): void {
    this.access = access;
    this.#sockets.of('/console').emit('access');
  }

  tell(...events: ConsoleEvent[]): void {
    this.events.push(...events);
    this.#sockets.of('/console').emit('events', events);
  }

  #make(): [Server, SocketServer] {
    const http = createServer((request, response) => void this.#answer(request, response));
    const sockets = new SocketServer(http, { serveClient: false });
    const console = sockets.of('/console');
    console.use((socket, next) => {
      next(socket.handshake.auth['token'] === this.token ? undefined : new Error('It is not the admin token.'));
    });
    console.on('connection', (socket) => {
      if (this.role) socket.emit('role', this.role);
      socket.emit('events', this.events);
      socket.emit('snapshot', this.snapshot);
      socket.on('command', (message: unknown, reply: (answer: CommandReply) => void) => {
        const command = commandSchema.parse(message);
        this.commands.push(command);
        reply(this.onCommand(command));
      });
    });
    return [http, sockets];
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    response.setHeader('Content-Security-Policy', policy);
    const lacksKey = this.apiKey !== undefined && request.headers.authorization !== `Bearer ${this.apiKey}`;
    if (path.startsWith('/v1/') && lacksKey) {
      return json(response, 401, {
        error: { message: 'This coordinator asks for an API key.', code: 'invalid_api_key' },
      });
    }
    if (['/console', '/playground', '/lab', '/docs'].includes(path)) this.#file(response, 'index.html', 'text/html');
    else if (path.startsWith('/console-assets/')) {
      this.#file(response, path.slice(1), path.endsWith('.css') ? 'text/css' : 'text/javascript');
    } else if (path === '/openapi.json') json(response, 200, this.openApi);
    else if (path === '/v1/models') {
      const { facts, adapters } = this;
      const others = adapters.map((id) =>
        modelEntry({ ...facts, description: `Writes ${id}.` }, { id, parent: 'tiny-stories' }),
      );
      const auto = adapters.length > 0 ? [modelEntry(facts, { id: 'auto' })] : [];
      json(response, 200, { object: 'list', data: [modelEntry(facts), ...auto, ...others] });
    } else if (path === '/v1/completions') await this.#complete(request, response);
    else if (path === '/v1/chat/completions') await this.#chat(request, response);
    else if (path.startsWith('/admin/')) await this.#admin(request, response);
    else if (path === '/v1/gates') await this.#lab(request, response);
    else json(response, 404, { error: { message: `Nothing is served at ${path}.` } });
  }

  #file(response: ServerResponse, name: string, type: string): void {
    response.setHeader('Content-Type', type);
    createReadStream(join(this.#pages, name))
      .on('error', () => json(response, 404, { error: { message: `No file ${name}.` } }))
      .pipe(response);
  }

  async #body(request: IncomingMessage): Promise<Record<string, unknown>> {
    let text = '';
    for await (const part of request) text += part;
    const body = JSON.parse(text) as Record<string, unknown>;
    this.asked.push(body);
    return body;
  }

  async #admin(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const { method = 'GET' } = request;
    if (request.headers.authorization !== `Bearer ${this.token}`)
      return json(response, 401, { error: { message: 'It is not an admin’s token.' } });
    const body = method === 'POST' || method === 'PATCH' ? await this.#body(request) : undefined;
    if (method !== 'GET') this.admin.push({ method, path: url.pathname, body });
    if (method !== 'GET' && this.adminRefusal !== undefined)
      return json(response, 503, { error: { message: this.adminRefusal } });
    const { status, answer } = answerAdmin(this.access, method, url, body);
    json(response, status, answer);
  }

  async #chat(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await this.#body(request);
    const script = this.chats.shift();
    if (!script) return json(response, 500, { error: { message: 'The test has no answer to this.' } });
    if ('status' in script) {
      const { status, message, param } = script;
      return json(response, status, { error: { message, type: 'invalid_request_error', param, code: null } });
    }
    response.on('close', () => (this.hungUp += response.writableFinished ? 0 : 1));
    if (this.ignored !== undefined) response.setHeader('x-shoal-ignored-parameters', this.ignored);
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    await answerChat(response, body, script, this.layers);
  }

  async #lab(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'GET') return json(response, 200, this.labFacts);
    const body = (await this.#body(request)) as unknown as LabRequest;
    const refusal = this.onStudy(body);
    if (refusal) return json(response, refusal.status, { error: { type: 'invalid_request_error', ...refusal } });
    json(response, 200, fakeStudy(body));
  }

  async #complete(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await this.#body(request);
    if (this.story === 'queue-full') {
      response.setHeader('Retry-After', '7');
      return json(response, 429, { error: { message: 'The queue is full.', type: 'rate_limit_error' } });
    }
    response.on('close', () => (this.hungUp += response.writableFinished ? 0 : 1));
    if (body['model'] === 'auto') response.setHeader('x-shoal-model', encodeURI(this.adapters[0]!));
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const tokens = storyTokens(Number(body['max_tokens']), this.layers);
    for (let i = 0; !response.closed && (this.story === 'endless' || i < tokens.length); i++) {
      const token = tokens[i % tokens.length];
      if (!token) break;
      if (i === 5 && this.story === 'error-inside') {
        response.end(event({ error: { message: 'The answer took longer than allowed.', type: 'server_error' } }));
        return;
      }
      if (i === 5 && this.story === 'hang-up') {
        response.destroy();
        return;
      }
      response.write(
        event({
          choices: [{ index: 0, text: token.text, finish_reason: null, shoal: { tokens: [token] } }],
          usage: null,
        }),
      );
      if (i === 2) await this.afterThird;
      await new Promise((resolve) => setTimeout(resolve, this.tokenDelayMs));
    }
    response.write(event({ choices: [{ index: 0, text: '', finish_reason: 'length' }] }));
    response.write(event({ choices: [], usage: { prompt_tokens: 10, completion_tokens: tokens.length } }));
    response.end('data: [DONE]\n\n');
  }
}

const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
}
