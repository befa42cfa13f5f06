export * from './header.ts';
export * from './layout.ts';
export * from './pack.ts';
export * from './panels.ts';
