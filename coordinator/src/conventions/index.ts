export type { OutputEvent, OutputParser, Tool } from './output-parser.ts';
export type { Convention } from './convention.ts';
