export * from './link.ts';
export * from './errors.ts';
export * from './channel.ts';
export * from './framed-channel.ts';
export * from './memory.ts';
export * from './donor.ts';
export type { AcceptedPeer, AcceptOptions } from './accept.ts';
export type { RtcImplementation, RtcName } from './rtc.ts';
export type { ConnectionEnd } from './connection.ts';
