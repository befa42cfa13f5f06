import { createServer, type IncomingMessage, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A reverse proxy that shows a server under a path prefix, which it removes, as `location /shoal/` of nginx does. */
export class PrefixProxy {
  readonly #http: Server;
  readonly #prefix: string;
  /** Paths that were asked for outside the prefix. */
  readonly strays: string[] = [];

  private constructor(target: URL, prefix: string) {
    this.#prefix = prefix;
    this.#http = createServer((from, to) => {
      const path = this.#inner(from);
      if (path === undefined) return void to.writeHead(404).end();
      const inner = request(target, { path, method: from.method, headers: from.headers }, (answer) => {
        to.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(to);
      });
      inner.on('error', () => to.destroy());
      to.on('close', () => inner.destroy());
      from.pipe(inner);
    });
    this.#http.on('upgrade', (from: IncomingMessage, socket) => {
      const path = this.#inner(from);
      if (path === undefined) return socket.destroy();
      const inner = request(target, { path, method: from.method, headers: from.headers });
      inner.on('error', () => socket.destroy());
      inner.on('upgrade', (answer, far, head) => {
        const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${String(value)}\r\n`);
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`);
        // The first frames may have come with the answer.
        socket.write(head);
        for (const [one, other] of [
          [socket, far],
          [far, socket],
        ] as const) {
          one.on('error', () => other.destroy()).on('close', () => other.destroy());
          one.pipe(other);
        }
      });
      inner.end();
    });
  }

  static async start(target: string, prefix: string): Promise<PrefixProxy> {
    const proxy = new PrefixProxy(new URL(target), prefix);
    await new Promise<void>((resolve) => proxy.#http.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}${this.#prefix}`;
  }

  async stop(): Promise<void> {
    this.#http.closeAllConnections();
    await new Promise((resolve) => this.#http.close(resolve));
  }

  #inner({ url = '/' }: IncomingMessage): string | undefined {
    if (url.startsWith(`${this.#prefix}/`)) return url.slice(this.#prefix.length);
    this.strays.push(url);
    return undefined;
  }
}
