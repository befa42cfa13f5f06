import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Knows which connections have an answer on its way. Node closes idle connections at shutdown, but not those that never
 * sent a request nor those that become idle later, and would wait out their timeouts.
 */
export class Connections {
  readonly #answers = new Map<Socket, number>();
  #closing = false;

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      this.#answers.set(socket, 0);
      socket.once('close', () => this.#answers.delete(socket));
    });
  }

  get closing(): boolean {
    return this.#closing;
  }

  isAnswering(socket: Socket): boolean {
    return (this.#answers.get(socket) ?? 0) > 0;
  }

  begin(socket: Socket): void {
    this.#count(socket, 1);
  }

  end(socket: Socket): void {
    this.#count(socket, -1);
    if (this.#closing && !this.isAnswering(socket)) socket.destroySoon();
  }

  /** Answers that are on their way are finished, then their connections closed too. */
  close(): void {
    this.#closing = true;
    for (const [socket, answers] of this.#answers) {
      if (answers === 0) socket.destroy();
    }
  }

  /** Requests that were injected without a connection are not counted. */
  #count(socket: Socket, change: number): void {
    const answers = this.#answers.get(socket);
    if (answers !== undefined) this.#answers.set(socket, answers + change);
  }
}
