import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * Forwards TCP connections to the first of some ports that takes them, each time from the next one on: a balancer. With one port it
 * is a line that can be cut.
 */
export class Relay {
  readonly #server: Server;
  readonly #ports: () => readonly number[];
  readonly #sockets = new Set<Socket>();
  #next = 0;
  #state: 'open' | 'refusing' | 'silent' = 'open';

  private constructor(ports: () => readonly number[]) {
    this.#ports = ports;
    this.#server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket));
  }

  static async open(ports: () => readonly number[]): Promise<Relay> {
    const relay = new Relay(ports);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Ends all connections and takes no new ones; `silent`: keeps them and forwards nothing, as a network that drops packets. */
  cut(how: 'refusing' | 'silent'): void {
    this.#state = how;
    if (how === 'silent') for (const socket of this.#sockets) socket.pause();
    else for (const socket of this.#sockets) socket.destroy();
  }

  heal(): void {
    this.#state = 'open';
    for (const socket of this.#sockets) socket.resume();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(socket: Socket): void {
    this.#watch(socket);
    if (this.#state === 'refusing') socket.destroy();
    else this.#forward(socket, this.#ports().length);
  }

  #forward(socket: Socket, tries: number): void {
    const ports = this.#ports();
    const port = ports[this.#next++ % Math.max(1, ports.length)];
    if (tries === 0 || port === undefined) return void socket.destroy();
    const upstream = connect(port, '127.0.0.1');
    upstream.once('connect', () => {
      this.#watch(upstream);
      upstream.off('error', retry);
      const isOpen = this.#state === 'open';
      for (const [from, to] of [[socket, upstream] as const, [upstream, socket] as const]) {
        from.on('data', (bytes) => to.write(bytes));
        from.once('end', () => to.end());
        from.once('close', () => to.destroy());
        if (isOpen) from.resume();
        else from.pause();
      }
    });
    const retry = (): void => this.#forward(socket, tries - 1);
    upstream.once('error', retry);
  }

  #watch(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
