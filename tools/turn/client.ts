import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket as TcpSocket } from 'node:net';
import {
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
const UDP = 17;
const TCP = 6;

export interface TurnServer {
  address: string;
  port: number;
  username: string;
  password: string;
}

/** A client of a TURN server with one allocation, as a donor with the password could be. */
export class TurnClient {
  readonly #server: TurnServer;
  readonly #send: (bytes: Buffer) => void;
  readonly #close: () => void;
  readonly #waiting = new Map<string, (message: Message) => void>();
  #credentials: Credentials | undefined;
  #nextChannel = 0x4000;
  /** Called with what the relay brings. */
  onData: (data: Buffer) => void = () => {};

  private constructor(server: TurnServer, send: (bytes: Buffer) => void, close: () => void) {
    this.#server = server;
    this.#send = send;
    this.#close = close;
  }

  static async overUdp(server: TurnServer): Promise<TurnClient> {
    const socket: UdpSocket = createSocket('udp4');
    const { address, port } = server;
    const send = (bytes: Buffer): void => socket.send(bytes, port, address);
    const client = new TurnClient(server, send, () => socket.close());
    socket.on('message', (bytes) => client.#receive(bytes));
    socket.bind(0, server.address);
    await once(socket, 'listening');
    return client;
  }

  static async overTcp(server: TurnServer): Promise<TurnClient> {
    const socket: TcpSocket = connect(server.port, server.address);
    await once(socket, 'connect');
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
    return errorCode(answer);
  }

  #exchange(method: number, attributes: Attributes): Promise<Message> {
    const bytes = encode('request', method, attributes, this.#credentials);
    const id = bytes.subarray(8, 20).toString('hex');
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`the TURN server gave no answer within ${TIMEOUT_MS / 1000} s`));
      }, TIMEOUT_MS);
      this.#waiting.set(id, (message) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(message);
      });
      this.#send(bytes);
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
