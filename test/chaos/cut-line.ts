import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP line to a port of this machine that can be cut: at once, or just before a message's answer comes back. */
export class CutLine {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Cuts a connection once the other end has had these bytes; the answer is dropped. */
  cutAfter: string | undefined;
  /** Answers that were dropped. */
  cuts = 0;
  /** Whether new connections are refused, and bytes of old ones lost without a word, as by a network that is unplugged. */
  isUnplugged = false;

  private constructor(to: number) {
    this.#server = createServer((near) => this.#join(near, to));
  }

  static async open(to: number): Promise<CutLine> {
    const line = new CutLine(to);
    line.#server.listen(0, '127.0.0.1');
    await once(line.#server, 'listening');
    return line;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server.close();
    this.cut();
  }

  #join(near: Socket, to: number): void {
    if (this.isUnplugged) return void near.destroy();
    const far = connect(to, '127.0.0.1');
    let drop = false;
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.once('close', () => {
        this.#sockets.delete(socket);
        near.destroy();
        // What was sent still arrives.
        far.end();
      });
    }
    near.on('data', (bytes) => {
      if (this.isUnplugged) return;
      if (this.cutAfter !== undefined && bytes.toString('latin1').includes(this.cutAfter)) drop = true;
      far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (this.isUnplugged) return;
      if (!drop) return void near.write(bytes);
      this.cuts++;
      near.destroy();
    });
  }
}
