export { readQuarantine } from './quarantine-records.ts';
export { Records } from './records.ts';
export { RETENTION } from './retention.ts';
export { MAX_USAGE_ROWS, type Used, type UsageOfDay, type UsageQuery, UsageRecords } from './usage.ts';
