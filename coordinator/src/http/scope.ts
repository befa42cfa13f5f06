import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { ApiError } from './errors.ts';

/** The client closed its connection before its answer was complete. */
export class HangUpError extends Error {
  constructor() {
    super('the client hung up');
    this.name = 'HangUpError';
  }
}

/** Pipelined requests share a socket, so each socket has one listener and a set of scopes. */
const scopesOfSocket = new WeakMap<Socket, Set<RequestScope>>();

/** The life of one request: its signal is aborted when the client hangs up, the deadline passes, or the request ends. */
export class RequestScope {
  readonly #controller = new AbortController();
  readonly #deadline: NodeJS.Timeout;
  readonly #socket: Socket;

  constructor(socket: Socket, deadlineMs: number) {
    this.#socket = socket;
    // Every choice of the request listens, some more than once; their number is bounded where they are planned.
    setMaxListeners(0, this.#controller.signal);
    this.#deadline = setTimeout(() => this.abort(ApiError.timeout()), deadlineMs);
    if (socket.destroyed) this.abort(new HangUpError());
    else track(socket).add(this);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get hungUp(): boolean {
    return this.signal.reason instanceof HangUpError;
  }

  abort(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** What ended the request: the abort's reason where it was aborted, whatever the engine then threw. */
  cause(thrown: unknown): unknown {
    return this.signal.aborted ? this.signal.reason : thrown;
  }

  /** Frees whatever is still running. */
  close(): void {
    clearTimeout(this.#deadline);
    scopesOfSocket.get(this.#socket)?.delete(this);
    this.#controller.abort(new Error('the request is over'));
  }
}

function track(socket: Socket): Set<RequestScope> {
  const known = scopesOfSocket.get(socket);
  if (known) return known;
  const scopes = new Set<RequestScope>();
  scopesOfSocket.set(socket, scopes);
  socket.once('close', () => scopes.forEach((scope) => scope.abort(new HangUpError())));
  return scopes;
}
