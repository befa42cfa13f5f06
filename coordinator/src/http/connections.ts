import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Tracks which connections have answers under way. At shutdown Node closes idle connections, but waits for the timeouts of
 * those that never sent a request and of those that become idle later.
 */
export class Connections {
  readonly #answers = new Map<Socket, Set<ServerResponse>>();
  #closing = false;

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      this.#answers.set(socket, new Set());
      socket.once('close', () => this.#answers.delete(socket));
    });
  }

  get closing(): boolean {
    return this.#closing;
  }

  /** True from an answer's first byte to its last, while nothing else may be written to the connection. */
  isAnswering(socket: Socket): boolean {
    return [...(this.#answers.get(socket) ?? [])].some((response) => response.headersSent);
  }

  begin(socket: Socket, response: ServerResponse): void {
    // Injected requests have no connection and are not counted.
    this.#answers.get(socket)?.add(response);
  }

  end(socket: Socket, response: ServerResponse): void {
    const answers = this.#answers.get(socket);
    answers?.delete(response);
    if (this.#closing && answers?.size === 0) socket.destroySoon();
  }

  /** Closes connections without an answer now, and the others after their answers. */
  close(): void {
    this.#closing = true;
    for (const [socket, answers] of this.#answers) {
      if (answers.size === 0) socket.destroy();
    }
  }
}
