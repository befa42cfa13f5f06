import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commandSchema } from './console.ts';
import { controlSchema, parseControl } from './control.ts';
import { MAX_CONTROL_BYTES, MAX_COORDINATORS, MAX_LAP_CONNECTIONS, MAX_SHARDS_PER_ASSIGNMENT } from './limits.ts';
import * as signalling from './signalling.ts';
import { negotiateVersion, PROTOCOL_VERSION } from './version.ts';

const { helloSchema, signalSchema, progressSchema, readySchema, troubleSchema, intentSchema, assignSchema } =
  signalling;
const { guestSchema, guestRefusedSchema } = signalling;
/** All that a donor or a console may say. */
const fromStrangers = [
  helloSchema,
  signalSchema,
  progressSchema,
  readySchema,
  troubleSchema,
  intentSchema,
  guestSchema,
  guestRefusedSchema,
  commandSchema,
  controlSchema,
];

const hello = {
  protocolVersions: [PROTOCOL_VERSION],
  donorToken: 'a'.repeat(22),
  adapter: {
    vendor: 'google',
    architecture: 'swiftshader',
    description: '',
    isFallbackAdapter: true,
    maxBufferBytes: 2 ** 30,
    maxStorageBindingBytes: 2 ** 27,
  },
  pledgeBytes: 2 ** 30,
};
const guest = { coordinator: 'c-0123abcd', attempt: 1 };
const candidate = { candidate: 'candidate:1 1 UDP 1 127.0.0.1 9 typ host', sdpMid: '0', sdpMLineIndex: 0 };

describe('what strangers say', () => {
  it('is taken when it is as it should be', () => {
    expect(helloSchema.safeParse(hello).success).toBe(true);
    expect(signalSchema.safeParse({ type: 'offer', sdp: 'v=0' }).success).toBe(true);
    expect(signalSchema.safeParse({ type: 'candidate', candidate }).success).toBe(true);
    expect(helloSchema.safeParse({ ...hello, maxCoordinators: MAX_COORDINATORS }).success).toBe(true);
    expect(signalSchema.parse({ type: 'candidate', candidate, guest })).toMatchObject({ guest });
    expect(guestRefusedSchema.safeParse({ ...guest, code: 'limit' }).success).toBe(true);
    expect(intentSchema.safeParse({ intent: 'pause' }).success).toBe(true);
    expect(parseControl('{"control":"goodbye"}')).toEqual({ control: 'goodbye' });
  });

  it.each<[string, unknown]>([
    ['no versions', { ...hello, protocolVersions: [] }],
    ['too many versions', { ...hello, protocolVersions: Array.from({ length: 17 }, () => 1) }],
    ['a token too short to be a secret', { ...hello, donorToken: 'a' }],
    ['a token with a slash', { ...hello, donorToken: `${'a'.repeat(22)}/` }],
    ['a negative pledge', { ...hello, pledgeBytes: -1 }],
    ['a pledge of NaN', { ...hello, pledgeBytes: Number.NaN }],
    ['an endless pledge', { ...hello, pledgeBytes: Number.POSITIVE_INFINITY }],
    ['a fraction of a byte', { ...hello, pledgeBytes: 1.5 }],
    ['a vendor of a megabyte', { ...hello, adapter: { ...hello.adapter, vendor: 'x'.repeat(1e6) } }],
    ['no adapter', { ...hello, adapter: null }],
    ['room for no coordinator', { ...hello, maxCoordinators: 0 }],
    ['more coordinators than a tab serves', { ...hello, maxCoordinators: MAX_COORDINATORS + 1 }],
  ])('hello with %s is refused', (_, message) => {
    expect(helloSchema.safeParse(message).success).toBe(false);
  });

  it.each<[string, unknown]>([
    ['nothing', {}],
    ['an offer without SDP', { type: 'offer' }],
    ['an SDP over the limit', { type: 'offer', sdp: 'x'.repeat(65_537) }],
    ['a request for a media track', { type: 'transceiverRequest', transceiverRequest: { kind: 'video' } }],
    ['a request to renegotiate', { type: 'renegotiate', renegotiate: true }],
    ['a candidate over the limit', { type: 'candidate', candidate: { ...candidate, candidate: 'x'.repeat(2049) } }],
    ['a candidate that is a number', { type: 'candidate', candidate: 7 }],
    ['a connection beyond the last', { type: 'offer', sdp: 'v=0', connection: MAX_LAP_CONNECTIONS }],
    ['a connection below the first', { type: 'candidate', candidate, connection: -1 }],
    ['a connection and a half', { type: 'answer', sdp: 'v=0', connection: 1.5 }],
    ['a guest without a name', { type: 'offer', sdp: 'v=0', guest: { attempt: 1 } }],
    ['a guest whose name is none', { type: 'offer', sdp: 'v=0', guest: { ...guest, coordinator: 'c-0123ABCD' } }],
    ['a guest whose name is a path', { type: 'offer', sdp: 'v=0', guest: { ...guest, coordinator: '../c-0123abcd' } }],
    ['a guest without an attempt', { type: 'offer', sdp: 'v=0', guest: { coordinator: guest.coordinator } }],
    ['an attempt beyond the last', { type: 'offer', sdp: 'v=0', guest: { ...guest, attempt: 65_536 } }],
  ])('a signal with %s is refused', (_, message) => {
    expect(signalSchema.safeParse(message).success).toBe(false);
  });

  it.each<[string, unknown]>([
    ['of nobody', { code: 'limit' }],
    ['without a reason', guest],
    ['for a reason that is none', { ...guest, code: 'x'.repeat(1e6) }],
  ])('a refusal %s is refused', (_, message) => {
    expect(guestRefusedSchema.safeParse(message).success).toBe(false);
  });

  it('loses fields that nobody asked for', () => {
    const message = { type: 'offer', sdp: 'v=0', renegotiate: true, __proto__: null, extra: 'x' };
    expect(signalSchema.parse(message)).toEqual({ type: 'offer', sdp: 'v=0' });
  });

  it('throws nothing in any schema, whatever it is', () => {
    const anything = fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true, withMap: true });
    fc.assert(
      fc.property(anything, (message) => {
        for (const schema of fromStrangers) schema.safeParse(message);
        parseControl(message);
      }),
      { numRuns: 2000 },
    );
  });

  it('is no control message when it is not JSON, too long, or unknown', () => {
    const long = JSON.stringify({ control: 'goodbye', x: 'x'.repeat(MAX_CONTROL_BYTES) });
    for (const data of ['', '{', 'null', '[]', '{"control":"format"}', long, Uint8Array.of(1)]) {
      expect(parseControl(data)).toBeUndefined();
    }
  });
});

describe('an assignment', () => {
  const shard = { layer: 1, expert: 2, sha256: 'ab'.repeat(32) };
  it('is bounded in length, and names shards by their whole hash', () => {
    expect(assignSchema.safeParse({ epoch: 1, shards: [shard] }).success).toBe(true);
    const many = Array.from({ length: MAX_SHARDS_PER_ASSIGNMENT + 1 }, () => shard);
    expect(assignSchema.safeParse({ epoch: 1, shards: many }).success).toBe(false);
    expect(assignSchema.safeParse({ epoch: 1, shards: [{ ...shard, sha256: '../secret' }] }).success).toBe(false);
  });
});

describe('a guest', () => {
  const terms = { iceServers: [], lapConnections: 4 };
  it('is announced with what a link to it needs, and taken leave of without', () => {
    expect(guestSchema.safeParse({ ...guest, open: true, ...terms }).success).toBe(true);
    expect(guestSchema.safeParse({ ...guest, open: false }).success).toBe(true);
    expect(guestSchema.safeParse({ ...guest, open: true }).success).toBe(false);
    const connections = { lapConnections: MAX_LAP_CONNECTIONS + 1 };
    expect(guestSchema.safeParse({ ...guest, open: true, ...terms, ...connections }).success).toBe(false);
  });
});

describe('negotiateVersion', () => {
  it('takes the highest that both know', () => {
    expect(negotiateVersion([0, PROTOCOL_VERSION, 9])).toBe(PROTOCOL_VERSION);
  });
  it('finds none where there is none', () => {
    expect(negotiateVersion([])).toBeUndefined();
    expect(negotiateVersion([0, 1, 65_535])).toBeUndefined();
  });
});
