import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Knows which connections have an answer on its way. Node closes idle connections at shutdown, but not those that never
 * sent a request nor those that become idle later, and would wait out their timeouts.
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

  /** True from an answer's first byte to its last: nothing else may then be written to the connection. */
  isAnswering(socket: Socket): boolean {
    return [...(this.#answers.get(socket) ?? [])].some((response) => response.headersSent);
  }

  begin(socket: Socket, response: ServerResponse): void {
    // Requests that were injected have no connection and are not counted.
    this.#answers.get(socket)?.add(response);
  }

  end(socket: Socket, response: ServerResponse): void {
    const answers = this.#answers.get(socket);
    answers?.delete(response);
    if (this.#closing && answers?.size === 0) socket.destroySoon();
  }

  /** Answers that are on their way are finished, then their connections closed too. */
  close(): void {
    this.#closing = true;
    for (const [socket, answers] of this.#answers) {
      if (answers.size === 0) socket.destroy();
    }
  }
}
