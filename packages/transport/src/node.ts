export * from './rtc.ts';
export * from './accept.ts';
