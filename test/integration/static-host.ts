import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';

/** A plain static file server of another origin, as hosts of published shards are. */
export class StaticHost {
  readonly requests: string[] = [];
  /** Answers instead of the file; undefined: the file. */
  fault: (path: string, response: ServerResponse) => true | undefined = () => undefined;
  readonly #dir: string;
  readonly #server = createServer((request, response) => void this.#answer(request.url ?? '/', response));

  constructor(dir: string) {
    this.#dir = dir;
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(url: string, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(url, 'http://host');
    this.requests.push(pathname);
    response.setHeader('access-control-allow-origin', '*');
    if (this.fault(pathname, response)) return;
    const path = join(this.#dir, normalize(pathname));
    const size = await stat(path).then(
      (found) => found.size,
      () => undefined,
    );
    if (size === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': size });
    createReadStream(path).pipe(response);
  }
}
