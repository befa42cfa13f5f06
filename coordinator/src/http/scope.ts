import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { ApiError } from './errors.ts';

/** The client closed its connection before the answer was complete. */
export class HangUpError extends Error {
  constructor() {
    super('the client hung up');
    this.name = 'HangUpError';
  }
}

/** By socket, whose later requests add no listeners. */
const scopesOfSocket = new WeakMap<Socket, Set<RequestScope>>();

/** The lifetime of a request. Its signal is aborted when the client hangs up, the deadline passes or the request ends. */
export class RequestScope {
  readonly #controller = new AbortController();
  readonly #deadline: NodeJS.Timeout;
  readonly #socket: Socket;

  constructor(socket: Socket, deadlineMs: number) {
    this.#socket = socket;
    // Every choice listens, some more than once. HttpLimits bounds their number.
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

  /** What ended the request: the reason of the abort, if there was one, and not what the scheduler threw after it. */
  cause(thrown: unknown): unknown {
    return this.signal.aborted ? this.signal.reason : thrown;
  }

  /** Ends generations that still run. */
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
