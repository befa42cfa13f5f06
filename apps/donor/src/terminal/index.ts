export type { Device } from '../device.ts';
export { initialPledgeBytes } from '../pledge.ts';
export { readInvite } from '../invite.ts';
export { findDevice, type FoundDevice, NoDeviceError } from './devices.ts';
export { limitsOf, readDays, readHours } from './limit-words.ts';
export { DiskShardCache } from './disk-shard-cache.ts';
export { visit, VisitError, type VisitIo } from './visit.ts';
export { type Terms, termsText } from './words.ts';
