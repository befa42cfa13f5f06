import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TokenAnswer } from '@shoal/model';
import type { GeneratedToken, GenerationEvent, LapTrace } from '../scheduler/generation.ts';
import type { StreamDetokenizer, TextCodec } from './codec.ts';
import { StopMatcher } from './stop.ts';

/** A token of the answer or of the echoed prompt, with the text that it completes. */
export interface OutputToken extends TokenAnswer {
  /** Empty while the token's bytes do not end a character. The token that ends it carries the whole character. */
  text: string;
  /** Unicode code points of the choice's text before this token, as OpenAI counts them. */
  offset: number;
  laps: LapTrace[];
}

export interface ChoiceDelta {
  text: string;
  tokens: OutputToken[];
  /** Set on the last delta, which has no text. */
  finishReason: 'stop' | 'length' | null;
}

/** What a device limit and drafts have done for a choice so far. */
export type ChoiceDetails = Pick<GeneratedToken, 'deviceLimit' | 'speculation'>;

export interface ChoiceOptions {
  codec: TextCodec;
  stop: readonly string[];
  /** The prompt to repeat before the answer. With `promptLogprobs` its tokens come from the scheduler. */
  echoIds: readonly number[] | undefined;
  promptLogprobs: boolean;
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
  const text = new ChoiceText(codec.newDetokenizer(), options.stop);
  if (echoIds && !options.promptLogprobs) {
    yield* text.echo(
      codec,
      echoIds.map((tokenId) => ({ tokenId })),
    );
  }
  for await (const event of events) {
    switch (event.type) {
      case 'prompt-logprobs':
        if (echoIds) yield* text.echo(codec, event.tokens);
        break;
      case 'token': {
        options.onToken();
        options.onDetails(event.token);
        const delta = text.push(event.token);
        if (delta.text !== '' || delta.tokens.length > 0) yield delta;
        if (text.stopped) {
          yield { text: '', tokens: [], finishReason: 'stop' };
          return;
        }
        break;
      }
      case 'finish': {
        options.onDetails(event);
        const rest = text.finish();
        if (rest.text !== '' || rest.tokens.length > 0) yield rest;
        yield { text: '', tokens: [], finishReason: text.stopped ? 'stop' : event.reason };
        return;
      }
      default:
        event satisfies never;
    }
  }
  throw new Error('the generation ended without a finish event');
}

interface PendingToken {
  token: OutputToken;
  /** UTF-16 units of generated text before and after the token. */
  start: number;
  end: number;
}

/** Echoed at once; takes about 5 ms. */
const ECHO_TOKENS = 4_096;

/** Keeps text and tokens in step: a token is released with the last of its text, or dropped with a stop string. */
class ChoiceText {
  readonly #detokenizer: StreamDetokenizer;
  readonly #matcher: StopMatcher;
  #pending: PendingToken[] = [];
  #generatedChars = 0;
  #emittedChars = 0;
  #codePoints = 0;
  stopped = false;

  constructor(detokenizer: StreamDetokenizer, stop: readonly string[]) {
    this.#detokenizer = detokenizer;
    this.#matcher = new StopMatcher(stop);
  }

  /**
   * Has a detokenizer of its own, so that the last bytes of the prompt and the first of the answer are never joined. Other work
   * gets its turn between pieces.
   */
  async *echo(codec: TextCodec, tokens: readonly TokenAnswer[]): AsyncGenerator<ChoiceDelta> {
    const detokenizer = codec.newDetokenizer();
    for (let at = 0; at < tokens.length; at += ECHO_TOKENS) {
      if (at > 0) await nextTurn();
      yield this.#echoPiece(tokens.slice(at, at + ECHO_TOKENS), (id) => detokenizer.push(id));
    }
    const rest = detokenizer.flush();
    this.#codePoints += countCodePoints(rest);
    if (rest !== '') yield { text: rest, tokens: [], finishReason: null };
  }

  #echoPiece(tokens: readonly TokenAnswer[], textOf: (id: number) => string): ChoiceDelta {
    let text = '';
    const output: OutputToken[] = [];
    for (const token of tokens) {
      const piece = textOf(token.tokenId);
      output.push({ ...token, text: piece, offset: this.#codePoints, laps: [] });
      this.#codePoints += countCodePoints(piece);
      text += piece;
    }
    return { text, tokens: output, finishReason: null };
  }

  push(token: GeneratedToken): ChoiceDelta {
    const piece = this.#detokenizer.push(token.tokenId);
    this.#append(token, piece);
    const { text, stopped } = this.#matcher.push(piece);
    this.stopped = stopped;
    this.#emittedChars += text.length;
    return { text, tokens: this.#release(stopped), finishReason: null };
  }

  finish(): ChoiceDelta {
    const tail = this.#detokenizer.flush();
    const last = this.#pending.at(-1);
    if (last) {
      last.token.text += tail;
      last.end += tail.length;
    }
    this.#generatedChars += tail.length;
    const found = this.#matcher.push(tail);
    this.stopped = found.stopped;
    const text = found.stopped ? found.text : found.text + this.#matcher.flush();
    this.#emittedChars += text.length;
    return { text, tokens: this.#release(true), finishReason: null };
  }

  /** Takes the tokens whose text is out; at the end (`last`) also one that a stop string cuts, but none that begins inside it. */
  #release(last: boolean): OutputToken[] {
    const cut = this.#emittedChars;
    let count = 0;
    this.#pending.forEach(({ token, end }, index) => {
      // An empty piece is the first part of a character, and is released or dropped with the last part.
      if (end <= cut && token.text !== '') count = index + 1;
    });
    const released = this.#pending.splice(0, count).map(({ token }) => token);
    if (last) {
      const rest = this.#pending.splice(0);
      const kept = this.stopped ? rest.filter(({ start }) => start < cut) : rest;
      released.push(...kept.map(({ token, start }) => ({ ...token, text: token.text.slice(0, cut - start) })));
    }
    return released;
  }

  #append(
    { trace: laps = [], deviceLimit: _limit, speculation: _drafts, ...answer }: GeneratedToken,
    text: string,
  ): void {
    const start = this.#generatedChars;
    this.#generatedChars += text.length;
    const token = { ...answer, text, offset: this.#codePoints, laps };
    this.#pending.push({ token, start, end: this.#generatedChars });
    this.#codePoints += countCodePoints(text);
  }
}

function countCodePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
