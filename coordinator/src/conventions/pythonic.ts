import type { ChatToolCall } from '@shoal/model';
import type { GrammarPart } from '../grammar/grammar-source.ts';
import type { Reading } from './answer-input.ts';
import type { AnswerIo, CallOutcome } from './answer-io.ts';
import type { Tool } from './output-parser.ts';
import { readJson } from './read-json.ts';
import { type ArgumentList, argumentLists, withDefinitions } from './tool-arguments.ts';

const NAME = /[\w.-]*/y;
const MAX_NAME = 256;

/** Reads `[name(argument="value"), …]`. Only the tools' names make a call, since no marker says so. */
export function* readPythonicCalls(io: AnswerIo): Reading<CallOutcome> {
  const { input } = io;
  yield* input.skipSpace();
  if (!(yield* input.tryText('['))) return 'none';
  let outcome: CallOutcome = 'none';
  for (;;) {
    const one = yield* readCall(io);
    if (one !== 'whole') return one;
    outcome = 'whole';
    yield* input.skipSpace();
    if (!(yield* input.tryText(','))) break;
    input.takeRecord();
    input.record('');
  }
  yield* input.tryText(']');
  return outcome;
}

function* readCall(io: AnswerIo): Reading<CallOutcome> {
  const { input, events } = io;
  const name = yield* readName(io);
  if (!io.tools.some((tool) => tool.name === name) || !(yield* input.tryText('('))) return 'none';
  events.call(name);
  let before = '{';
  for (;;) {
    yield* input.skipSpace();
    if (yield* input.tryText(')')) break;
    const key = yield* readName(io);
    yield* input.skipSpace();
    if (key === '' || !(yield* input.tryText('='))) return 'broken';
    events.arguments(`${before}${JSON.stringify(key)}: `);
    before = ', ';
    if ((yield* readJson(input, (text) => events.arguments(text))) !== 'whole') return 'broken';
    yield* input.skipSpace();
    const isLast = !(yield* input.tryText(','));
    if (isLast && (yield* input.peek()) !== ')') return 'broken';
  }
  if (before !== '{') events.arguments('}');
  events.endCall();
  return 'whole';
}

function* readName({ input }: AnswerIo): Reading<string> {
  let name = '';
  yield* input.skipSpace();
  yield* input.takeWhile(NAME, (text) => (name += text));
  return name.length > MAX_NAME ? '' : name;
}

/** A call under a grammar. */
export function pythonicCall(tool: Tool): readonly GrammarPart[] {
  return [`${tool.name}(`, { either: argumentLists(tool).map((list) => pythonicArguments(tool, list)) }, ')'];
}

/** What is required first, so that commas stand between. */
function pythonicArguments(tool: Tool, { properties, required }: ArgumentList): GrammarPart[] {
  const all = [...properties].map(([key, schema]) => ({ key, value: { schema: withDefinitions(schema, tool) } }));
  const needed = all.filter(({ key }) => required.has(key));
  const others = all.filter(({ key }) => !required.has(key));
  return [
    ...needed.flatMap(({ key, value }, index) => [`${index > 0 ? ', ' : ''}${key}=`, value]),
    // A comma may also end the list, where none is certain to come before.
    ...others.map(({ key, value }) => ({
      optional: needed.length > 0 ? [`, ${key}=`, value] : [`${key}=`, value, ', '],
    })),
  ];
}

/** Calls of a conversation as `readPythonicCalls` reads them. */
export function writePythonicCalls(calls: readonly ChatToolCall[]): string {
  return `[${calls.map(writeCall).join(', ')}]`;
}

function writeCall({ function: { name, arguments: text } }: ChatToolCall): string {
  const values = objectOf(text);
  return `${name}(${Object.entries(values)
    .map(([key, value]) => `${key}=${asPython(value)}`)
    .join(', ')})`;
}

/** A call's arguments; none where they are no JSON object. */
function objectOf(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

function asPython(value: unknown): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (Array.isArray(value)) return `[${value.map(asPython).join(', ')}]`;
  if (typeof value !== 'object') return JSON.stringify(value);
  return `{${Object.entries(value)
    .map(([key, item]) => `${JSON.stringify(key)}: ${asPython(item)}`)
    .join(', ')}}`;
}
