export { type AcceptedPeer, type AcceptOptions, acceptPeer } from './accept.ts';
export { closeRtc, loadRtc, type RtcImplementation, type RtcName, type RtcOptions } from './rtc.ts';
export type { PortRange } from './udp-port.ts';
export { SignalFilter } from './signal-filter.ts';
