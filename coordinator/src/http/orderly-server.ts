import { type IncomingMessage, Server, type ServerOptions, type ServerResponse } from 'node:http';
import type { Server as NetServer, Socket } from 'node:net';
import { hostFault, type HostHeaderError } from './host-header.ts';

/** Of the connections that there may be, before the one that has been idle longest makes way for a new one. */
const ROOMY_SHARE = 0.9;

/** Node reads on while it buffers no more of a body, and so notices that a client leaves. */
const MAX_WAITING_BODY_BYTES = 8 << 10;

export interface OrderlyServerOptions extends ServerOptions {
  /** Requests of one connection that may wait for the answers before them. */
  waitingPerConnection: number;
  /** Requests of all connections that may wait, since each holds its headers and the beginning of its body. */
  waitingInAll: number;
  /** Open connections. Kept ones without a request make way before there are so many; more are refused. */
  connections: number;
  /** Called when a connection is destroyed because more were waiting, there or in all, or one with a long body. */
  onOverflow(): void;
  /** A server that listens already, whose address `listen` takes over, whatever it is asked for. */
  listener?: NetServer | undefined;
}

type Exchange = readonly [request: IncomingMessage, response: ServerResponse];

/**
 * An HTTP server that works on one request of a connection at a time, whoever listens for requests. Node reports all pipelined
 * requests at once, and the response to one behind the first is not told when the connection closes: what it holds, such as an
 * open file, would never be released. A request without exactly one valid Host is not reported but is a `clientError`.
 *
 * Too many waiting requests, there or in all, or a waiting one with a long body, end the connection. Not reading on would be
 * kinder, but would hide a client's leaving from the answer under way; and what the parser has read already, up to 64 KiB of
 * requests, cannot be put back.
 */
export class OrderlyServer extends Server {
  readonly #waiting = new WeakMap<Socket, Exchange[]>();
  readonly #options: OrderlyServerOptions;
  #waitingInAll = 0;
  readonly #connected = new Set<Socket>();
  /** Connections that are kept after their last answer, the longest idle one first. */
  readonly #idle = new Set<Socket>();

  constructor(options: OrderlyServerOptions) {
    super({ ...options, requireHostHeader: false });
    this.#options = options;
    this.maxConnections = options.connections;
    this.on('connection', (socket: Socket) => this.#connect(socket));
    // Without a listener, Node answers an unknown expectation itself, at once. It may be ignored (RFC 9110, section 10.1.1).
    this.on('checkExpectation', (...exchange: Exchange) => this.emit('request', ...exchange));
  }

  /** Throws where this server listens already. */
  override listen(...args: unknown[]): this {
    const { listener } = this.#options;
    return listener ? super.listen(listener) : super.listen(...(args as Parameters<Server['listen']>));
  }

  /** Comes before all listeners, since socket.io answers its own requests without asking the others. */
  override emit(event: string, ...args: unknown[]): boolean {
    if (event === 'request') return this.#arrive(args as unknown as Exchange);
    if (event === 'upgrade') {
      const [request, socket] = args as [IncomingMessage, Socket];
      this.#idle.delete(socket);
      return this.#mayUpgrade(request, socket) && super.emit(event, ...args);
    }
    return super.emit(event, ...args);
  }

  #connect(socket: Socket): void {
    this.#connected.add(socket);
    socket.once('close', () => {
      this.#connected.delete(socket);
      this.#idle.delete(socket);
    });
    if (this.#connected.size <= ROOMY_SHARE * this.#options.connections) return;
    const [longestIdle] = this.#idle;
    if (!longestIdle) return;
    // Its end takes a moment, and the next new connection needs another's place.
    this.#idle.delete(longestIdle);
    longestIdle.destroySoon();
  }

  #arrive(exchange: Exchange): boolean {
    const { socket } = exchange[0];
    // The parser reports the rest of what it has read even after the last answer.
    if (!socket.writable) return false;
    const line = this.#waiting.get(socket);
    if (!line) {
      this.#serve(socket, exchange, []);
      return true;
    }
    line.push(exchange);
    this.#waitingInAll++;
    const { waitingPerConnection, waitingInAll } = this.#options;
    if (line.length > waitingPerConnection || this.#waitingInAll > waitingInAll || hasLongBody(exchange[0])) {
      this.#options.onOverflow();
      socket.destroy();
    }
    return true;
  }

  /** Hands a request to the listeners, and the next one when its answer is over. */
  #serve(socket: Socket, [request, response]: Exchange, line: Exchange[]): void {
    this.#waiting.set(socket, line);
    this.#idle.delete(socket);
    response.once('close', () => {
      if (line.length === 0) this.#rest(socket);
      // In another turn of the event loop, so that one connection's many requests do not hold up other connections.
      else setImmediate(() => this.#serveNext(socket, line));
    });
    const fault = hostFault(request);
    if (fault === undefined) super.emit('request', request, response);
    else this.#refuse(fault, socket);
  }

  #rest(socket: Socket): void {
    this.#waiting.delete(socket);
    if (socket.writable) this.#idle.add(socket);
  }

  #serveNext(socket: Socket, line: Exchange[]): void {
    const served = socket.writable ? [line.shift()!] : line.splice(0);
    this.#waitingInAll -= served.length;
    if (socket.writable) this.#serve(socket, served[0]!, line);
  }

  /** A socket that is upgraded leaves the server's timeouts behind, so nothing else may be under way on it. */
  #mayUpgrade(request: IncomingMessage, socket: Socket): boolean {
    const fault = hostFault(request);
    if (!fault && !this.#waiting.has(socket)) return true;
    // Node has removed its own listener.
    socket.on('error', () => socket.destroy());
    if (fault) this.#refuse(fault, socket);
    else socket.destroy();
    return false;
  }

  #refuse(fault: HostHeaderError, socket: Socket): void {
    if (!super.emit('clientError', fault, socket)) socket.destroy();
  }
}

function hasLongBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > MAX_WAITING_BODY_BYTES;
}
