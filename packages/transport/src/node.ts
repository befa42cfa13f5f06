export { type AcceptedPeer, type AcceptOptions, acceptPeer } from './accept.ts';
export { closeRtc, loadRtc, type RtcImplementation, type RtcName } from './rtc.ts';
export { SignalFilter } from './signal-filter.ts';
