export * from './checkpoint.ts';
