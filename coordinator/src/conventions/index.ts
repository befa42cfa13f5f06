export type { OutputEvent, OutputParser, Tool } from './output-parser.ts';
export type { Convention } from './convention.ts';
export { chooseConvention, CONVENTION_NAMES, conventionByName } from './choose-convention.ts';
