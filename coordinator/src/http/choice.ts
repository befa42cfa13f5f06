import type {
  DeviceLimitUsage,
  GeneratedToken,
  GenerationEvent,
  LapTrace,
  SpeculationUsage,
  TokenLogprob,
} from '../scheduler/generation.ts';
import type { StreamDetokenizer, TextCodec } from './codec.ts';
import { StopMatcher } from './stop.ts';

/** A token of the answer (or of the echoed prompt) with the text that it completed. */
export interface OutputToken {
  id: number;
  /** Empty while its bytes do not yet end a character; the token that ends it carries the whole. */
  text: string;
  /** Unicode code points of the choice's text before this token, as OpenAI counts them. */
  offset: number;
  logprob: number | null;
  topLogprobs: TokenLogprob[];
  laps: LapTrace[];
}

export interface ChoiceDelta {
  text: string;
  tokens: OutputToken[];
  /** Set on the last delta, which has no text. */
  finishReason: 'stop' | 'length' | null;
}

export interface ChoiceDetails {
  deviceLimit?: DeviceLimitUsage;
  speculation?: SpeculationUsage;
}

export interface ChoiceOptions {
  codec: TextCodec;
  stop: readonly string[];
  /** The prompt to repeat before the answer; with `promptLogprobs` its tokens' logprobs come from the scheduler. */
  echoIds?: readonly number[];
  promptLogprobs: boolean;
  onToken(): void;
  /** Told what a device limit and drafts have done so far, whenever that is known. */
  onDetails?(details: ChoiceDetails): void;
}

/**
 * One choice's engine events as text: whole characters only, stop strings taken out, prompt echoed.
 * Ending the iteration ends the engine's, which frees the request's place.
 */
export async function* runChoice(
  events: AsyncIterable<GenerationEvent>,
  options: ChoiceOptions,
): AsyncGenerator<ChoiceDelta> {
  const { codec, echoIds } = options;
  const text = new ChoiceText(codec.newDetokenizer(), options.stop);
  if (echoIds && !options.promptLogprobs) yield text.echo(codec, echoIds.map(plainToken));
  for await (const event of events) {
    switch (event.type) {
      case 'prompt-logprobs':
        if (echoIds) yield text.echo(codec, event.tokens);
        break;
      case 'token': {
        options.onToken();
        options.onDetails?.(event.token);
        const delta = text.push(event.token);
        if (delta.text !== '' || delta.tokens.length > 0) yield delta;
        if (text.stopped) {
          yield { text: '', tokens: [], finishReason: 'stop' };
          return;
        }
        break;
      }
      case 'finish': {
        options.onDetails?.(event);
        const rest = text.finish();
        if (rest.text !== '' || rest.tokens.length > 0) yield rest;
        yield { text: '', tokens: [], finishReason: text.stopped ? 'stop' : event.reason };
        return;
      }
      default:
        event satisfies never;
    }
  }
  throw new Error('the engine ended a generation without a finish event');
}

function plainToken(tokenId: number) {
  return { tokenId, logprob: null, topLogprobs: [] };
}

interface PendingToken extends OutputToken {
  /** UTF-16 units of generated text before and after the token. */
  start: number;
  end: number;
}

/** Keeps text and tokens in step: a token leaves with the last of its text, or not at all where a stop string swallowed it. */
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

  /** The prompt has a detokenizer of its own: its last bytes and the answer's first never make a character together. */
  echo(
    codec: TextCodec,
    tokens: readonly { tokenId: number; logprob: number | null; topLogprobs: TokenLogprob[] }[],
  ): ChoiceDelta {
    const detokenizer = codec.newDetokenizer();
    let text = '';
    const output: OutputToken[] = [];
    for (const { tokenId, logprob, topLogprobs } of tokens) {
      const piece = detokenizer.push(tokenId);
      output.push({ id: tokenId, text: piece, offset: this.#codePoints, logprob, topLogprobs, laps: [] });
      this.#codePoints += countCodePoints(piece);
      text += piece;
    }
    const rest = detokenizer.flush();
    this.#codePoints += countCodePoints(rest);
    return { text: text + rest, tokens: output, finishReason: null };
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
      last.text += tail;
      last.end += tail.length;
    }
    this.#generatedChars += tail.length;
    const found = this.#matcher.push(tail);
    this.stopped = found.stopped;
    const text = found.stopped ? found.text : found.text + this.#matcher.flush();
    this.#emittedChars += text.length;
    return { text, tokens: this.#release(true), finishReason: null };
  }

  /** Tokens whose text is out. At the end (`last`), also those cut by a stop string, but none that begins inside one. */
  #release(last: boolean): OutputToken[] {
    const cut = this.#emittedChars;
    let count = 0;
    this.#pending.forEach((token, index) => {
      // An empty piece is the first half of a character: it leaves with the second, or is swallowed with it.
      if (token.end <= cut && token.text !== '') count = index + 1;
    });
    const released = this.#pending.splice(0, count);
    if (last) {
      const rest = this.#pending.splice(0);
      const kept = this.stopped ? rest.filter((token) => token.start < cut) : rest;
      released.push(...kept.map((token) => ({ ...token, text: token.text.slice(0, cut - token.start) })));
    }
    return released.map(({ start: _start, end: _end, ...token }) => token);
  }

  #append(token: GeneratedToken, piece: string): void {
    this.#pending.push({
      id: token.tokenId,
      text: piece,
      offset: this.#codePoints,
      logprob: token.logprob ?? null,
      topLogprobs: token.topLogprobs ?? [],
      laps: token.trace ?? [],
      start: this.#generatedChars,
      end: this.#generatedChars + piece.length,
    });
    this.#generatedChars += piece.length;
    this.#codePoints += countCodePoints(piece);
  }
}

function countCodePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
