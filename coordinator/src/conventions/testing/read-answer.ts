import { chooseConvention } from '../choose-convention.ts';
import type { Convention, ParserOptions } from '../convention.ts';
import type { OutputEvent, OutputParser, Tool } from '../output-parser.ts';
import type { Piece, Renderer } from './render-calls.ts';

/** A whole answer, put together from its events. */
export interface Answer {
  content: string;
  reasoning: string;
  calls: { name: string; arguments: string; id?: string }[];
  /** The text of the last call, if that is not whole. */
  broken?: string;
}

export const conventionOf = (renderer: Renderer): Convention => chooseConvention({ template: renderer.template });

/** Puts events together, and fails at one that is out of order. */
export function collect(
  events: readonly OutputEvent[],
  into: Answer = { content: '', reasoning: '', calls: [] },
): Answer {
  for (const event of events) {
    if (event.type === 'content' || event.type === 'reasoning') into[event.type] += event.text;
    else if (event.type === 'call') {
      if (event.index !== into.calls.length)
        throw new Error(`call ${event.index} comes after ${into.calls.length} calls`);
      into.calls.push({ name: event.name, arguments: '', ...(event.id === undefined ? {} : { id: event.id }) });
    } else if (event.type === 'broken') into.broken = event.text;
    else if (event.index !== into.calls.length - 1) throw new Error(`arguments of call ${event.index} come late`);
    else into.calls[event.index]!.arguments += event.text;
  }
  return into;
}

export function pushPiece(parser: OutputParser, piece: Piece): OutputEvent[] {
  return typeof piece === 'string' ? parser.push(piece, false) : parser.push(piece.special, true);
}

export interface ReadOptions extends Partial<ParserOptions> {
  tools: readonly Tool[];
}

/** What a convention makes of an answer that comes in these pieces. */
export function readAnswer(convention: Convention, pieces: readonly Piece[], options: ReadOptions): Answer {
  const parser = convention.newParser({ tail: '', ...options });
  const answer: Answer = { content: '', reasoning: '', calls: [] };
  for (const piece of pieces) collect(pushPiece(parser, piece), answer);
  return collect(parser.finish(), answer);
}

/** Cuts texts into their characters. */
export const byCharacter = (pieces: readonly Piece[]): Piece[] =>
  pieces.flatMap((piece): Piece[] => (typeof piece === 'string' ? [...piece] : [piece]));

/** All ways to cut one of the texts in two. */
export function* twoSplits(pieces: readonly Piece[]): Generator<Piece[]> {
  for (const [index, piece] of pieces.entries()) {
    if (typeof piece !== 'string') continue;
    const characters = [...piece];
    for (let at = 1; at < characters.length; at++) {
      const halves = [characters.slice(0, at).join(''), characters.slice(at).join('')];
      yield [...pieces.slice(0, index), ...halves, ...pieces.slice(index + 1)];
    }
  }
}
