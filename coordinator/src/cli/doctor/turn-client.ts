import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, isIPv6, type Socket as TcpSocket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import {
  addressOf,
  type Attributes,
  type Credentials,
  decode,
  encode,
  errorCode,
  type Message,
  METHODS,
  peerAddress,
  read,
} from './stun.ts';

const TIMEOUT_MS = 3_000;
/** Before a request is sent again over UDP; doubled each time (RFC 8489, 6.2.1). */
const RESEND_MS = 500;
const UDP = 17;
const TCP = 6;

export interface TurnServer {
  address: string;
  port: number;
  /** For TLS. */
  host?: string;
  username: string;
  password: string;
  /** How long it may take to answer. */
  timeoutMs?: number;
}

/** A client of a TURN server with one allocation, as a donor with the password could be, or of a STUN server. */
export class TurnClient {
  readonly #server: TurnServer;
  readonly #send: (bytes: Buffer) => void;
  readonly #close: () => void;
  readonly #waiting = new Map<string, (message: Message) => void>();
  #credentials: Credentials | undefined;
  #resends = false;
  #nextChannel = 0x4000;
  /** Called with what the relay brings. */
  onData: (data: Buffer) => void = () => {};

  private constructor(server: TurnServer, send: (bytes: Buffer) => void, close: () => void) {
    this.#server = server;
    this.#send = send;
    this.#close = close;
  }

  /** @param from the local address; the system's choice if undefined */
  static async overUdp(server: TurnServer, from?: string): Promise<TurnClient> {
    const { address, port } = server;
    const socket: UdpSocket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
    const send = (bytes: Buffer): void => socket.send(bytes, port, address, () => {});
    const client = new TurnClient(server, send, () => socket.close());
    client.#resends = true;
    socket.on('message', (bytes) => client.#receive(bytes));
    socket.bind(0, from);
    await once(socket, 'listening');
    socket.on('error', () => {});
    return client;
  }

  /** Rejects where no connection can be made. */
  static async overTcp(server: TurnServer, tls = false): Promise<TurnClient> {
    const { address, port, host = address, timeoutMs = TIMEOUT_MS } = server;
    const signal = AbortSignal.timeout(timeoutMs);
    const socket: TcpSocket = tls
      ? connectTls({ host: address, port, ...(!isIPv6(host) && { servername: host }) })
      : connect(port, address);
    try {
      await once(socket, tls ? 'secureConnect' : 'connect', { signal });
    } catch (error) {
      socket.on('error', () => {}).destroy();
      if (!signal.aborted) throw error;
      throw new Error(`no connection within ${timeoutMs / 1000} s`, { cause: error });
    }
    const client = new TurnClient(
      server,
      (bytes) => socket.write(bytes),
      () => socket.destroy(),
    );
    let rest = Buffer.alloc(0);
    socket.on('data', (bytes: Buffer) => {
      rest = Buffer.concat([rest, bytes]);
      for (let next = decode(rest); next; next = decode(rest)) {
        client.#receive(rest);
        rest = rest.subarray(next.length);
      }
    });
    socket.on('error', () => {});
    return client;
  }

  close(): void {
    this.#close();
  }

  /** Returns this end's address as the server sees it. */
  async bind(): Promise<string | undefined> {
    return addressOf(await this.#exchange(METHODS.binding, {}), 'mapped');
  }

  /** The relay's address, after an allocation. */
  relayed: string | undefined;

  /** Gives the allocation back. */
  release(): Promise<number> {
    return this.#ask(METHODS.refresh, { lifetime: Buffer.alloc(4) });
  }

  /** Asks for a relay. Each method returns the error's code, 0 for a success. */
  allocate(relay: 'udp' | 'tcp', family: 4 | 6 = 4): Promise<number> {
    const attributes: Attributes = { transport: Buffer.from([relay === 'udp' ? UDP : TCP, 0, 0, 0]) };
    if (family === 6) attributes.requestedFamily = Buffer.from([2, 0, 0, 0]);
    return this.#ask(METHODS.allocate, attributes);
  }

  createPermission(peer: string): Promise<number> {
    return this.#ask(METHODS.createPermission, { peer: peerAddress(peer, 9) });
  }

  bindChannel(peer: string, port: number): Promise<number> {
    const channelNumber = Buffer.alloc(4);
    channelNumber.writeUInt16BE(this.#nextChannel++, 0);
    return this.#ask(METHODS.channelBind, { channelNumber, peer: peerAddress(peer, port) });
  }

  /** Of a TCP relay. */
  connect(peer: string, port: number): Promise<number> {
    return this.#ask(METHODS.connect, { peer: peerAddress(peer, port) });
  }

  /** Sends to a peer without having asked. */
  send(peer: string, port: number, data: Buffer): void {
    this.#send(encode('indication', METHODS.send, { peer: peerAddress(peer, port), data }));
  }

  async #ask(method: number, attributes: Attributes): Promise<number> {
    let answer = await this.#exchange(method, attributes);
    const isUnknown = errorCode(answer) === 401 || errorCode(answer) === 438;
    const nonce = read(answer, 'nonce');
    if (isUnknown && nonce) {
      const realm = read(answer, 'realm')?.toString() ?? this.#credentials?.realm ?? '';
      const { username, password } = this.#server;
      this.#credentials = { username, password, realm, nonce };
      answer = await this.#exchange(method, attributes);
    }
    this.relayed = addressOf(answer, 'relayed') ?? this.relayed;
    return errorCode(answer);
  }

  #exchange(method: number, attributes: Attributes): Promise<Message> {
    const bytes = encode('request', method, attributes, this.#credentials);
    const id = bytes.subarray(8, 20).toString('hex');
    const { timeoutMs = TIMEOUT_MS } = this.#server;
    return new Promise((resolve, reject) => {
      let resend: NodeJS.Timeout | undefined;
      const timer = setTimeout(() => {
        end();
        reject(new Error(`no answer within ${timeoutMs / 1000} s`));
      }, timeoutMs);
      const end = (): void => {
        clearTimeout(timer);
        clearTimeout(resend);
        this.#waiting.delete(id);
      };
      this.#waiting.set(id, (message) => {
        end();
        resolve(message);
      });
      const send = (afterMs: number): void => {
        this.#send(bytes);
        if (this.#resends) resend = setTimeout(() => send(2 * afterMs), afterMs);
      };
      send(RESEND_MS);
    });
  }

  #receive(bytes: Buffer): void {
    // A channel's data begins with its number, from 0x4000 on.
    if (bytes[0]! >= 0x40) return this.onData(bytes.subarray(4));
    const message = decode(bytes)?.message;
    if (!message) return;
    if (message.class === 'indication') return this.onData(read(message, 'data') ?? Buffer.alloc(0));
    this.#waiting.get(message.id.toString('hex'))?.(message);
  }
}
