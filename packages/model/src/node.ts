export * from './checkpoint.ts';
export * from './load-tokenizer.ts';
