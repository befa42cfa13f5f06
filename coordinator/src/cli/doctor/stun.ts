import { createHash, createHmac, randomBytes } from 'node:crypto';
import { isIPv6 } from 'node:net';

/** As much of STUN (RFC 8489) and TURN (RFC 8656, RFC 6062) as it takes to ask a server whether it answers and what it relays to. */
export const METHODS = {
  binding: 0x001,
  allocate: 0x003,
  refresh: 0x004,
  send: 0x006,
  data: 0x007,
  createPermission: 0x008,
  channelBind: 0x009,
  connect: 0x00a,
} as const;

const ATTRIBUTES = {
  username: 0x0006,
  integrity: 0x0008,
  error: 0x0009,
  channelNumber: 0x000c,
  lifetime: 0x000d,
  peer: 0x0012,
  data: 0x0013,
  realm: 0x0014,
  nonce: 0x0015,
  relayed: 0x0016,
  requestedFamily: 0x0017,
  transport: 0x0019,
  mapped: 0x0020,
} as const;
type AttributeName = keyof typeof ATTRIBUTES;

const COOKIE = 0x2112a442;
const HEADER_BYTES = 20;
const INTEGRITY_BYTES = 24;

export type Class = 'request' | 'indication' | 'success' | 'error';
const CLASS_BITS: Readonly<Record<Class, number>> = { request: 0, indication: 0x010, success: 0x100, error: 0x110 };

export interface Message {
  method: number;
  class: Class;
  id: Buffer;
  attributes: ReadonlyMap<number, Buffer>;
}

export interface Credentials {
  username: string;
  password: string;
  realm: string;
  nonce: Buffer;
}

/** Values, those that depend on the transaction as functions of its id. */
export type Attributes = Partial<Record<AttributeName, Buffer | ((id: Buffer) => Buffer)>>;

/** A message's bytes, signed if there are credentials. */
export function encode(
  kind: Class,
  method: number,
  attributes: Attributes,
  credentials?: Credentials,
  id = randomBytes(12),
): Buffer {
  const all: Attributes = { ...attributes };
  if (credentials) {
    const { username, realm, nonce } = credentials;
    Object.assign(all, { username: Buffer.from(username), realm: Buffer.from(realm), nonce });
  }
  const encoded = Object.entries(all).map(([name, value]) =>
    attribute(ATTRIBUTES[name as AttributeName], typeof value === 'function' ? value(id) : value),
  );
  const body = Buffer.concat(encoded);
  // The signature covers a header whose length counts the signature.
  const header = headerOf(kind, method, body.length + (credentials ? INTEGRITY_BYTES : 0), id);
  if (!credentials) return Buffer.concat([header, body]);
  const { username, realm, password } = credentials;
  const key = createHash('md5').update(`${username}:${realm}:${password}`).digest();
  const signature = createHmac('sha1', key).update(header).update(body).digest();
  return Buffer.concat([header, body, attribute(ATTRIBUTES.integrity, signature)]);
}

function headerOf(kind: Class, method: number, bodyBytes: number, id: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(method | CLASS_BITS[kind], 0);
  header.writeUInt16BE(bodyBytes, 2);
  header.writeUInt32BE(COOKIE, 4);
  id.copy(header, 8);
  return header;
}

function attribute(type: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
  bytes.writeUInt16BE(type, 0);
  bytes.writeUInt16BE(value.length, 2);
  value.copy(bytes, 4);
  return bytes;
}

/** The first message of some bytes and the number of bytes that it takes; undefined if they hold no whole one. */
export function decode(bytes: Buffer): { message: Message; length: number } | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const length = HEADER_BYTES + bytes.readUInt16BE(2);
  if (bytes.length < length) return undefined;
  const type = bytes.readUInt16BE(0);
  const kind = (Object.keys(CLASS_BITS) as Class[]).find((name) => CLASS_BITS[name] === (type & 0x110))!;
  const attributes = new Map<number, Buffer>();
  for (let at = HEADER_BYTES; at + 4 <= length;) {
    const size = bytes.readUInt16BE(at + 2);
    attributes.set(bytes.readUInt16BE(at), bytes.subarray(at + 4, at + 4 + size));
    at += 4 + Math.ceil(size / 4) * 4;
  }
  const message = { method: type & ~0x110, class: kind, id: bytes.subarray(8, 20), attributes };
  return { message, length };
}

export function read(message: Message, name: AttributeName): Buffer | undefined {
  return message.attributes.get(ATTRIBUTES[name]);
}

/** 0 for a success. */
export function errorCode(message: Message): number {
  if (message.class !== 'error') return 0;
  const value = read(message, 'error');
  return value === undefined || value.length < 4 ? 500 : value[2]! * 100 + value[3]!;
}

/** The address in the value of XOR-MAPPED-ADDRESS or XOR-RELAYED-ADDRESS, as `HOST:PORT`; undefined for one that is no such value. */
export function addressOf(message: Message, name: 'mapped' | 'relayed'): string | undefined {
  const value = read(message, name);
  if (value === undefined || (value.length !== 8 && value.length !== 20)) return undefined;
  const mask = Buffer.concat([Buffer.from([0x21, 0x12, 0xa4, 0x42]), message.id]);
  const bytes = [...value.subarray(4)].map((byte, i) => byte ^ mask[i]!);
  const port = value.readUInt16BE(2) ^ (COOKIE >>> 16);
  if (bytes.length === 4) return `${bytes.join('.')}:${port}`;
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16));
  // As URLs write it, with the longest run of zeros left out.
  return `${new URL(`http://[${groups.join(':')}]`).hostname}:${port}`;
}

/** The value of XOR-PEER-ADDRESS, or of another such address, in the message of this transaction. */
export function peerAddress(address: string, port: number): (id: Buffer) => Buffer {
  return (id) => {
    const bytes = addressBytes(address);
    const mask = Buffer.concat([Buffer.from([0x21, 0x12, 0xa4, 0x42]), id]);
    const value = Buffer.alloc(4 + bytes.length);
    value.writeUInt8(bytes.length === 4 ? 1 : 2, 1);
    value.writeUInt16BE(port ^ (COOKIE >>> 16), 2);
    for (const [i, byte] of bytes.entries()) value[4 + i] = byte ^ mask[i]!;
    return value;
  };
}

/** [4] or [16] */
function addressBytes(address: string): number[] {
  if (!isIPv6(address)) return address.split('.').map(Number);
  const mapped = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const [head = '', tail = ''] = (mapped ? mapped[1]! + mappedGroups(mapped[2]!) : address).split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return [...before, ...zeros, ...after].flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

function mappedGroups(ipv4: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = ipv4.split('.').map(Number);
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}
