export * from './placement.ts';
export * from './cover.ts';
