import type { OutputEvent } from '../conventions/index.ts';
import type { OutputToken } from './choice.ts';

/** A piece of an answer; every call has an id. */
export type AnswerEvent =
  Exclude<OutputEvent, { type: 'call' | 'broken' }> | { type: 'call'; index: number; id: string; name: string };

/** A part of an answer: everything of one kind in a row, or one call. */
export type AnswerPart =
  | { type: 'content'; text: string; tokens: OutputToken[] }
  | { type: 'reasoning'; text: string }
  | { type: 'call'; id: string; name: string; arguments: string };

/** What happened to the part with number `index`, which parts are counted by in the order of their beginnings. */
export type PartEvent =
  | { type: 'open'; index: number; part: AnswerPart }
  /** More text of the part, or of a call's arguments. `part` has it already; `tokens` are those that it was made of. */
  | { type: 'more'; index: number; part: AnswerPart; text: string; tokens: OutputToken[] }
  | { type: 'close'; index: number; part: AnswerPart };

/**
 * Puts the events of one answer together to its parts, for the endpoints whose answers are lists of parts. One part is open at a
 * time: the next one closes it.
 */
export class PartSplitter {
  readonly parts: AnswerPart[] = [];
  /** Of text that has not come yet. */
  #tokens: OutputToken[] = [];
  /** Parts of calls, by the calls' numbers. */
  readonly #calls = new Map<number, number>();

  push(events: readonly AnswerEvent[], tokens: readonly OutputToken[]): PartEvent[] {
    // Not spread: an echoed prompt may have more tokens than a call has arguments.
    for (const token of tokens) this.#tokens.push(token);
    return events.flatMap((event) => this.#add(event));
  }

  /** The answer has ended. */
  finish(): PartEvent[] {
    return this.#close();
  }

  #add(event: AnswerEvent): PartEvent[] {
    switch (event.type) {
      case 'content':
      case 'reasoning': {
        const opened = this.parts.at(-1)?.type === event.type ? [] : this.#open(emptyPart(event.type));
        return [...opened, ...this.#more(this.parts.length - 1, event.text)];
      }
      case 'call': {
        const { id, name } = event;
        const opened = this.#open({ type: 'call', id, name, arguments: '' });
        this.#calls.set(event.index, this.parts.length - 1);
        return opened;
      }
      case 'arguments':
        return this.#more(this.#calls.get(event.index)!, event.text);
      default:
        return event satisfies never;
    }
  }

  #open(part: AnswerPart): PartEvent[] {
    const closed = this.#close();
    this.parts.push(part);
    return [...closed, { type: 'open', index: this.parts.length - 1, part: structuredClone(part) }];
  }

  #more(index: number, text: string): PartEvent[] {
    const part = this.parts[index]!;
    const tokens = lastOf(this.#tokens, text);
    this.#tokens = [];
    if (part.type === 'call') part.arguments += text;
    else part.text += text;
    if (part.type === 'content') for (const token of tokens) part.tokens.push(token);
    return [{ type: 'more', index, part, text, tokens }];
  }

  #close(): PartEvent[] {
    const index = this.parts.length - 1;
    return index < 0 ? [] : [{ type: 'close', index, part: this.parts[index]! }];
  }
}

function emptyPart(type: 'content' | 'reasoning'): AnswerPart {
  return type === 'content' ? { type, text: '', tokens: [] } : { type, text: '' };
}

/** The tokens that `text` was made of: the last ones. Those before were markup. */
function lastOf(tokens: OutputToken[], text: string): OutputToken[] {
  let start = tokens.length;
  for (let chars = 0; start > 0 && chars < text.length;) chars += tokens[--start]!.text.length;
  // A character's first tokens have no text.
  while (start > 0 && tokens[start - 1]!.text === '') start--;
  return tokens.slice(start);
}
