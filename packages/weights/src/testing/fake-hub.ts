import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

/** What a request is for. */
export interface HubRequest {
  kind: 'info' | 'tree' | 'resolve' | 'store' | 'xet-token' | 'xet-layout' | 'xet-data';
  /** Of a file. */
  name: string;
  range: string | undefined;
  authorization: string | undefined;
  /** How many of this kind and name have come, this one included. */
  count: number;
}

export interface FakeHubOptions {
  files: ReadonlyMap<string, Buffer>;
  repo?: string;
  commit?: string;
  /** Files from this size on are kept in the store, which has another address, and have a SHA-256. */
  largeBytes?: number;
  xet?: boolean;
  /** Misbehaves: answers in its own way and returns true. */
  fault?: ((request: HubRequest, response: ServerResponse) => boolean) | undefined;
  /** Bytes of one write to a client. */
  pieceBytes?: number;
}

export const REPO = 'some-org/Small-MoE';
export const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const XET_TOKEN = 'store-token';
const XET_CHUNK_BYTES = 60_000;

/**
 * A server that speaks as much of the hub's API as Shoal uses: the commit of a revision, the list of files in pages, small files,
 * large ones behind a redirect to another address, and the newer store (tokens, layouts, chunks).
 */
export class FakeHub {
  readonly requests: HubRequest[] = [];
  sentBytes = 0;
  options: Required<Omit<FakeHubOptions, 'fault'>> & Pick<FakeHubOptions, 'fault'>;
  #hub!: Server;
  #store!: Server;

  private constructor(options: FakeHubOptions) {
    const defaults = {
      repo: REPO,
      commit: COMMIT,
      largeBytes: 2_000,
      xet: false,
      pieceBytes: 64 * 1024,
      fault: undefined,
    };
    this.options = { ...defaults, ...options };
  }

  static async start(options: FakeHubOptions): Promise<FakeHub> {
    const hub = new FakeHub(options);
    hub.#hub = await listen((request, response) => hub.#answer(request, response));
    hub.#url = addressOf(hub.#hub);
    hub.#store = await listen((request, response) => hub.#answer(request, response));
    return hub;
  }

  #url = '';

  /** It outlasts the server. */
  get url(): string {
    return this.#url;
  }

  get env(): Record<string, string> {
    return { HF_ENDPOINT: this.url };
  }

  /** Requests of a kind, by the names of their files. */
  namesOf(kind: HubRequest['kind']): string[] {
    return this.requests.filter((request) => request.kind === kind).map(({ name }) => name);
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#store]) {
      server.closeAllConnections();
      // It may be closed already.
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, this.url);
    const { range, authorization } = request.headers;
    const note = (kind: HubRequest['kind'], name = ''): boolean => {
      const count = 1 + this.requests.filter((one) => one.kind === kind && one.name === name).length;
      const noted = { kind, name, range, authorization, count };
      this.requests.push(noted);
      return this.options.fault?.(noted, response) !== true;
    };
    const { repo, commit } = this.options;
    const api = `/api/models/${repo}/`;
    if (url.pathname.startsWith(`${api}revision/`)) {
      const revision = decodeURIComponent(url.pathname.slice(`${api}revision/`.length));
      if (!note('info')) return;
      if (revision !== 'main' && revision !== commit)
        return refuse(response, 404, 'RevisionNotFound', `Invalid rev id: ${revision}`);
      return sendJson(response, {
        _id: 'x',
        id: repo,
        sha: commit,
        private: false,
        gated: false,
        downloads: 0,
        likes: 0,
        lastModified: '2026-01-01T00:00:00Z',
      });
    }
    if (url.pathname.startsWith(`${api}tree/`)) return note('tree') ? this.#sendTree(url, response) : undefined;
    if (url.pathname.startsWith(`/${repo}/resolve/`)) {
      const name = decodeURIComponent(url.pathname.split('/').slice(5).join('/'));
      return note('resolve', name) ? this.#resolve(name, request, response) : undefined;
    }
    if (url.pathname.startsWith('/store/')) {
      const name = decodeURIComponent(url.pathname.slice('/store/'.length));
      return note('store', name) ? this.send(response, this.options.files.get(name)!, range) : undefined;
    }
    if (url.pathname === '/xet/token') {
      const exp = Math.floor(Date.now() / 1000) + 3600;
      return note('xet-token')
        ? sendJson(response, { accessToken: XET_TOKEN, casUrl: addressOf(this.#store), exp })
        : undefined;
    }
    if (url.pathname.startsWith('/v2/reconstructions/')) {
      const name = decodeURIComponent(url.pathname.slice('/v2/reconstructions/'.length));
      return note('xet-layout', name) ? this.#sendLayout(name, request, response) : undefined;
    }
    if (url.pathname.startsWith('/xet/data/')) {
      const name = decodeURIComponent(url.pathname.slice('/xet/data/'.length));
      return note('xet-data', name) ? this.send(response, xorbOf(this.options.files.get(name)!), range) : undefined;
    }
    refuse(response, 404, 'RepoNotFound', 'Repository not found');
  }

  #sendTree(url: URL, response: ServerResponse): void {
    const { files, largeBytes, xet } = this.options;
    const folder = decodeURIComponent(url.pathname).split('/').slice(7).join('/');
    const own = [...files].filter(([path]) => path.split('/').slice(0, -1).join('/') === folder);
    if (folder !== '' && own.length === 0) return refuse(response, 404, 'EntryNotFound', `${folder} does not exist`);
    const all = own.map(([path, bytes]) => {
      const entry = { type: 'file', path, size: bytes.byteLength, oid: gitId(bytes) };
      if (bytes.byteLength < largeBytes) return entry;
      const lfs = { oid: sha256(bytes), size: bytes.byteLength, pointerSize: 134 };
      return { ...entry, lfs, ...(xet && { xetHash: sha256(bytes) }) };
    });
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const size = 5;
    url.searchParams.set('cursor', `${from + size}`);
    if (from + size < all.length) response.setHeader('link', `<${url.href}>; rel="next"`);
    sendJson(response, [
      ...(from === 0 ? [{ type: 'directory', path: 'figures', size: 0, oid: COMMIT }] : []),
      ...all.slice(from, from + size),
    ]);
  }

  #resolve(name: string, request: IncomingMessage, response: ServerResponse): void {
    const bytes = this.options.files.get(name);
    if (!bytes) return refuse(response, 404, 'EntryNotFound', `Entry not found: ${name}`);
    const { largeBytes, xet } = this.options;
    if (bytes.byteLength < largeBytes) return this.send(response, bytes, request.headers.range);
    if (xet && request.headers.accept?.includes('xet-fileinfo')) {
      const store = addressOf(this.#store);
      response.setHeader('content-type', 'application/vnd.xet-fileinfo+json');
      response.setHeader('x-linked-size', `${bytes.byteLength}`);
      response.setHeader('x-linked-etag', `"${sha256(bytes)}"`);
      response.setHeader('x-xet-hash', sha256(bytes));
      const layout = `${store}/v1/reconstructions/${encodeURIComponent(name)}`;
      response.setHeader('link', `<${this.url}/xet/token>; rel="xet-auth", <${layout}>; rel="xet-reconstruction-info"`);
      response.end('{}');
      return;
    }
    response.writeHead(302, { location: `${addressOf(this.#store)}/store/${encodeURIComponent(name)}` }).end();
  }

  /** One block of chunks that are not compressed. */
  #sendLayout(name: string, request: IncomingMessage, response: ServerResponse): void {
    const bytes = this.options.files.get(name)!;
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const first = Math.floor(start / XET_CHUNK_BYTES);
    const chunks = Math.ceil(bytes.byteLength / XET_CHUNK_BYTES);
    const hash = sha256(bytes);
    const range = {
      chunks: { start: first, end: chunks },
      bytes: { start: first * (XET_CHUNK_BYTES + 8), end: bytes.byteLength + 8 * chunks - 1 },
    };
    sendJson(response, {
      terms: [{ hash, unpacked_length: bytes.byteLength - first * XET_CHUNK_BYTES, range: range.chunks }],
      xorbs: { [hash]: [{ url: `${addressOf(this.#store)}/xet/data/${encodeURIComponent(name)}`, ranges: [range] }] },
      offset_into_first_range: start - first * XET_CHUNK_BYTES,
    });
  }

  /** Sends bytes, or the range of them that is asked for. `endAfter`: breaks off after these. */
  send(response: ServerResponse, bytes: Buffer, range: string | undefined, endAfter = Number.POSITIVE_INFINITY): void {
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
    const start = Number(first ?? 0);
    const end = last ? Math.min(Number(last) + 1, bytes.byteLength) : bytes.byteLength;
    const part = bytes.subarray(start, end);
    response.setHeader('content-length', part.byteLength);
    response.setHeader('etag', `"${sha256(bytes)}"`);
    if (range !== undefined) response.setHeader('content-range', `bytes ${start}-${end - 1}/${bytes.byteLength}`);
    response.writeHead(range === undefined ? 200 : 206);
    void this.#write(response, part.subarray(0, endAfter), endAfter < part.byteLength);
  }

  async #write(response: ServerResponse, part: Buffer, breaksOff: boolean): Promise<void> {
    const { pieceBytes } = this.options;
    const closed = new Promise((resolve) => response.once('close', resolve));
    for (let at = 0; at < part.byteLength && !response.destroyed; at += pieceBytes) {
      const piece = part.subarray(at, at + pieceBytes);
      this.sentBytes += piece.byteLength;
      if (!response.write(piece))
        await Promise.race([closed, new Promise((resolve) => response.once('drain', resolve))]);
    }
    if (breaksOff) response.destroy();
    else response.end();
  }
}

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.setHeader('content-type', 'application/json; charset=utf-8');
  response.end(JSON.stringify(value));
}

/** An error as the hub's. */
export function refuse(response: ServerResponse, status: number, code: string, message: string): void {
  response.setHeader('x-error-code', code);
  response.setHeader('x-error-message', message);
  response.statusCode = status;
  sendJson(response, { error: message });
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function gitId(bytes: Buffer): string {
  return createHash('sha1').update(`blob ${bytes.byteLength}\0`).update(bytes).digest('hex');
}

/** A block of the newer store: chunks with a header of 8 bytes (version, length, no compression, length). */
function xorbOf(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.byteLength; at += XET_CHUNK_BYTES) {
    const chunk = bytes.subarray(at, at + XET_CHUNK_BYTES);
    const header = Buffer.alloc(8);
    header.writeUIntLE(chunk.byteLength, 1, 3);
    header.writeUIntLE(chunk.byteLength, 5, 3);
    parts.push(header, chunk);
  }
  return Buffer.concat(parts);
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** A model's directory as a repository has it: the weights in `count` files with an index, cut between any two tensors. */
export async function splitModel(dir: string, count: number): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const name of await readdir(dir)) {
    if (!name.endsWith('.safetensors')) files.set(name, await readFile(join(dir, name)));
  }
  const whole = await readFile(join(dir, 'model.safetensors'));
  const start = 8 + Number(whole.readBigUInt64LE(0));
  const header = JSON.parse(whole.subarray(8, start).toString()) as Header;
  const tensors = Object.entries(header).filter(([name]) => name !== '__metadata__');
  const weightMap: Record<string, string> = {};
  for (let i = 0; i < count; i++) {
    const part = tensors.slice(
      Math.round((i * tensors.length) / count),
      Math.round(((i + 1) * tensors.length) / count),
    );
    const name = `model-${`${i + 1}`.padStart(5, '0')}-of-${`${count}`.padStart(5, '0')}.safetensors`;
    let end = 0;
    const entries = part.map(
      ([
        tensor,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        weightMap[tensor] = name;
        return [tensor, { dtype, shape, data_offsets: [end, (end += to - from)] }];
      },
    );
    const text = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.byteLength));
    const bodies = part.map(
      ([
        ,
        {
          data_offsets: [from, to],
        },
      ]) => whole.subarray(start + from, start + to),
    );
    files.set(name, Buffer.concat([length, text, ...bodies]));
  }
  const index = { metadata: { total_size: whole.byteLength - start }, weight_map: weightMap };
  return files.set('model.safetensors.index.json', Buffer.from(JSON.stringify(index)));
}
