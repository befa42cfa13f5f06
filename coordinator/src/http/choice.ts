import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TokenAnswer } from '@shoal/model';
import type { GeneratedToken, GenerationEvent, LapTrace } from '../scheduler/generation.ts';
import type { StreamDetokenizer, TextCodec } from './codec.ts';
import type { TextOptions } from './requests/parsed-request.ts';
import { StopMatcher } from './stop.ts';

/** A token of the answer or of the echoed prompt, with the text that it completes. */
export interface OutputToken extends TokenAnswer {
  /** Empty while the token's bytes do not end a character. The token that ends it carries the whole character. */
  text: string;
  /** Unicode code points of the choice's text before this token, as OpenAI counts them. */
  offset: number;
  laps: LapTrace[];
}

/** A piece of a choice's text. Special tokens are pieces of their own. */
export interface TextPiece {
  text: string;
  isSpecial: boolean;
}

/** Why a choice ended, and the stop string or the token that ended it, if the client named it. */
export interface ChoiceEnd {
  reason: 'stop' | 'length';
  stop?: string | number;
}

export interface ChoiceDelta {
  pieces: TextPiece[];
  tokens: OutputToken[];
  /** Set on the last delta, which has no text. */
  end: ChoiceEnd | null;
}

/** What a device limit and drafts have done for a choice so far. */
export type ChoiceDetails = Pick<GeneratedToken, 'deviceLimit' | 'speculation'>;

export interface ChoiceOptions {
  codec: TextCodec;
  text: TextOptions;
  /** The prompt to repeat before the answer. With `promptLogprobs` its tokens come from the scheduler. */
  echoIds: readonly number[] | undefined;
  promptLogprobs: boolean;
  /** Whether the answer is a text of its own, which does not begin with the tokenizer's space; by default it goes on with another. */
  beginsText?: boolean;
  onPromptLogprobs?(tokens: readonly TokenAnswer[]): void;
  onToken(): void;
  onDetails(details: ChoiceDetails): void;
}

/**
 * Turns the generation events of one choice into text: whole characters only, without stop strings, with the prompt echoed.
 * Ending the iteration ends that of `events`, which frees the request's place.
 */
export async function* runChoice(
  events: AsyncIterable<GenerationEvent>,
  options: ChoiceOptions,
): AsyncGenerator<ChoiceDelta> {
  const { codec, echoIds } = options;
  const text = new ChoiceText(codec, options.text, options.beginsText ?? false);
  if (echoIds && !options.promptLogprobs) {
    yield* text.echo(echoIds.map((tokenId) => ({ tokenId })));
  }
  for await (const event of events) {
    switch (event.type) {
      case 'prompt-logprobs':
        options.onPromptLogprobs?.(event.tokens);
        if (echoIds) yield* text.echo(event.tokens);
        break;
      case 'token': {
        options.onToken();
        options.onDetails(event.token);
        const delta = text.push(event.token);
        if (delta.pieces.length > 0 || delta.tokens.length > 0) yield delta;
        if (text.stop !== undefined) {
          yield { pieces: [], tokens: [], end: { reason: 'stop', stop: text.stop } };
          return;
        }
        break;
      }
      case 'finish': {
        options.onDetails(event);
        const rest = text.finish();
        if (rest.pieces.length > 0 || rest.tokens.length > 0) yield rest;
        yield { pieces: [], tokens: [], end: endOf(event, text.stop, options.text) };
        return;
      }
      default:
        event satisfies never;
    }
  }
  throw new Error('the generation ended without a finish event');
}

function endOf(
  { reason, stopTokenId }: Extract<GenerationEvent, { type: 'finish' }>,
  stop: string | undefined,
  { stopTokenIds }: TextOptions,
): ChoiceEnd {
  if (stop !== undefined) return { reason: 'stop', stop };
  const isNamed = stopTokenId !== undefined && stopTokenIds.includes(stopTokenId);
  return { reason, ...(isNamed && { stop: stopTokenId }) };
}

interface PendingToken {
  token: OutputToken;
  isSpecial: boolean;
  /** UTF-16 units of generated text before and after the token, special tokens' texts included. */
  start: number;
  end: number;
}

/** Echoed at once; takes about 5 ms. */
const ECHO_TOKENS = 4_096;

/**
 * Keeps text and tokens in step: a token is released with the last of its text, or dropped with a stop string. Stop strings are
 * looked for in the whole text, special tokens included, though these are not shown.
 */
class ChoiceText {
  readonly #codec: TextCodec;
  readonly #options: TextOptions;
  readonly #detokenizer: StreamDetokenizer;
  readonly #matcher: StopMatcher;
  #pending: PendingToken[] = [];
  /** Generated text that may be part of a stop string, in pieces. */
  #held: TextPiece[] = [];
  #numTokens = 0;
  #generatedChars = 0;
  #emittedChars = 0;
  #codePoints = 0;
  /** Whether the next text may begin with a space that is the tokenizer's. */
  #dropsSpace: boolean;
  /** The stop string that was found. */
  stop: string | undefined;

  constructor(codec: TextCodec, options: TextOptions, beginsText: boolean) {
    this.#codec = codec;
    this.#options = options;
    this.#dropsSpace = beginsText && codec.dropsFirstSpace;
    this.#detokenizer = codec.newDetokenizer();
    this.#matcher = new StopMatcher(options.stop);
  }

  /**
   * Has a detokenizer of its own, so that the last bytes of the prompt and the first of the answer are never joined. Other work
   * gets its turn between pieces.
   */
  async *echo(tokens: readonly TokenAnswer[]): AsyncGenerator<ChoiceDelta> {
    const detokenizer = this.#codec.newDetokenizer();
    for (let at = 0; at < tokens.length; at += ECHO_TOKENS) {
      if (at > 0) await nextTurn();
      yield this.#echoPiece(tokens.slice(at, at + ECHO_TOKENS), (id) => detokenizer.push(id));
    }
    const rest = detokenizer.flush();
    this.#codePoints += countCodePoints(rest);
    if (rest !== '') yield { pieces: [{ text: rest, isSpecial: false }], tokens: [], end: null };
  }

  #echoPiece(tokens: readonly TokenAnswer[], textOf: (id: number) => string): ChoiceDelta {
    let text = '';
    const output: OutputToken[] = [];
    for (const token of tokens) {
      const piece = this.#shownSpecial(token.tokenId) ?? textOf(token.tokenId);
      output.push({ ...token, text: piece, offset: this.#codePoints, laps: [] });
      this.#codePoints += countCodePoints(piece);
      text += piece;
    }
    return { pieces: text === '' ? [] : [{ text, isSpecial: false }], tokens: output, end: null };
  }

  push(token: GeneratedToken): ChoiceDelta {
    const special = this.#codec.specialText(token.tokenId);
    const isSpecial = special !== undefined;
    const text = special ?? this.#own(this.#detokenizer.push(token.tokenId));
    if (isSpecial && this.#options.showsSpecialTokens) this.#dropsSpace = false;
    this.#append(token, text, isSpecial);
    this.#numTokens++;
    if (this.#numTokens <= this.#options.minTokens) return this.#take(text, undefined, false);
    const { text: free, stop } = this.#matcher.push(text);
    return this.#take(free, stop, false);
  }

  finish(): ChoiceDelta {
    const tail = this.#own(this.#detokenizer.flush());
    const last = this.#pending.at(-1);
    if (last) {
      last.token.text += tail;
      last.end += tail.length;
    }
    this.#generatedChars += tail.length;
    if (tail !== '') this.#held.push({ text: tail, isSpecial: false });
    const { text, stop } = this.#matcher.push(tail);
    return this.#take(stop === undefined ? text + this.#matcher.flush() : text, stop, true);
  }

  /** Without the tokenizer's space, where it is the first text of one. */
  #own(text: string): string {
    if (!this.#dropsSpace || text === '') return text;
    this.#dropsSpace = false;
    return text.startsWith(' ') ? text.slice(1) : text;
  }

  /** Takes text that is no part of a stop string, and of the stop string `stop` that follows it what is to be shown. */
  #take(text: string, stop: string | undefined, last: boolean): ChoiceDelta {
    this.stop = stop;
    const length = text.length + (stop !== undefined && this.#options.includesStop ? stop.length : 0);
    this.#emittedChars += length;
    return { pieces: this.#cut(length), tokens: this.#release(last || stop !== undefined), end: null };
  }

  /** The pieces of the next `length` UTF-16 units. */
  #cut(length: number): TextPiece[] {
    const pieces: TextPiece[] = [];
    let left = length;
    while (left > 0) {
      const first = this.#held[0]!;
      const text = first.text.slice(0, left);
      pieces.push({ ...first, text });
      left -= text.length;
      first.text = first.text.slice(text.length);
      if (first.text === '') this.#held.shift();
    }
    return pieces;
  }

  /** Takes the tokens whose text is out; at the end (`last`) also one that a stop string cuts, but none that begins inside it. */
  #release(last: boolean): OutputToken[] {
    const cut = this.#emittedChars;
    let count = 0;
    this.#pending.forEach(({ start, end }, index) => {
      // An empty piece is the first part of a character, and is released or dropped with the last part.
      if (end <= cut && end > start) count = index + 1;
    });
    const released = this.#pending.splice(0, count).map(({ token }) => token);
    if (last) {
      const rest = this.#pending.splice(0);
      const kept = this.stop === undefined ? rest : rest.filter(({ start }) => start < cut);
      for (const { token, start, isSpecial } of kept) {
        released.push({ ...token, text: isSpecial ? token.text : token.text.slice(0, cut - start) });
      }
    }
    return released;
  }

  #append(
    { trace: laps = [], deviceLimit: _limit, speculation: _drafts, ...answer }: GeneratedToken,
    text: string,
    isSpecial: boolean,
  ): void {
    if (text !== '') this.#held.push({ text, isSpecial });
    const start = this.#generatedChars;
    this.#generatedChars += text.length;
    const shown = isSpecial && !this.#options.showsSpecialTokens ? '' : text;
    const token = { ...answer, text: shown, offset: this.#codePoints, laps };
    this.#pending.push({ token, isSpecial, start, end: this.#generatedChars });
    this.#codePoints += countCodePoints(shown);
  }

  #shownSpecial(id: number): string | undefined {
    return this.#options.showsSpecialTokens ? this.#codec.specialText(id) : undefined;
  }
}

function countCodePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
