export { readQuarantine } from './quarantine-records.ts';
export { Records } from './records.ts';
export { RETENTION } from './retention.ts';
export { type Used, UsageRecords } from './usage.ts';
