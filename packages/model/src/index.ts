export * from './f16.ts';
