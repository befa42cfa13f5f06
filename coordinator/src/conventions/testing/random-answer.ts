import { createRng } from '@shoal/model';
import { Automaton, type State } from '../../grammar/automaton.ts';
import { expressionOf } from '../../grammar/expression-of.ts';
import type { GrammarSource } from '../../grammar/grammar-source.ts';
import { Masks } from '../../grammar/masks.ts';
import { compileProgram } from '../../grammar/program.ts';
import { idsOf } from '../../grammar/testing/byte-vocabulary.ts';
import { vocabularyFrom } from '../../grammar/vocabulary.ts';
import type { Piece } from './render-calls.ts';

const END = 256;
/** What most texts are made of, so that they look like those of models. */
const USUAL = new Set(Buffer.from('"\'{}[],: axyzAZ019-.<>/\n\\'));
/** What brings answers to their ends. */
const CLOSING = [...Buffer.from('"x}]),<')];
const MAX_FREE_STEPS = 150;
const MAX_STEPS = 20_000;

/** Writes answers at random that a grammar allows, by a vocabulary of bytes, special tokens and some words. */
export class RandomAnswers {
  readonly #masks: Masks;
  readonly #automaton: Automaton;
  readonly #specials: readonly string[];
  readonly #words: readonly string[];
  readonly #random = createRng(7);

  constructor(source: GrammarSource, specials: readonly string[], words: readonly string[] = []) {
    this.#specials = specials;
    this.#words = words;
    const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
    const texts = ['<end>', ...specials, ...words].map((text) => Uint8Array.from(Buffer.from(text)));
    const ids = specials.map((_, index) => END + 1 + index);
    this.#masks = new Masks(vocabularyFrom([...bytes, ...texts], [END, ...ids], [END]));
    const byText = new Map(specials.map((text, index) => [text, ids[index]!]));
    this.#automaton = new Automaton(compileProgram(expressionOf(source, byText)));
  }

  /** Whether this text is a whole answer. */
  accepts(text: string): boolean {
    let state: State | null = this.#automaton.start;
    for (const byte of Buffer.from(text)) state = state && this.#masks.read(this.#automaton, state, byte);
    return state?.isComplete ?? false;
  }

  next(): Piece[] {
    const ids: number[] = [];
    let state: State = this.#automaton.start;
    for (;;) {
      const id = this.#choose(idsOf(this.#masks.of(this.#automaton, state), this.#masks.vocabulary.size), ids.length);
      if (id === END) return this.#pieces(ids);
      ids.push(id);
      if (ids.length > MAX_STEPS)
        throw new Error(`a random answer does not end: ${JSON.stringify(this.#pieces(ids)).slice(-300)}`);
      state = this.#masks.read(this.#automaton, state, id)!;
    }
  }

  #choose(allowed: readonly number[], step: number): number {
    const oneOf = (ids: readonly number[]): number => ids[Math.floor(this.#random() * ids.length)]!;
    const isClosing = step > MAX_FREE_STEPS;
    if (allowed.includes(END) && (isClosing || this.#random() < 0.5)) return END;
    const long = allowed.filter((id) => id > END);
    const closing = CLOSING.filter((byte) => allowed.includes(byte));
    if (isClosing && closing.length > 0 && this.#random() < 0.7) return oneOf(closing);
    if (long.length > 0 && (isClosing || this.#random() < 0.3)) return oneOf(long);
    const usual = allowed.filter((id) => USUAL.has(id));
    return oneOf(usual.length > 0 && this.#random() < 0.95 ? usual : allowed);
  }

  #pieces(ids: readonly number[]): Piece[] {
    const pieces: Piece[] = [];
    let bytes: number[] = [];
    const flush = (): void => {
      if (bytes.length > 0) pieces.push(Buffer.from(bytes).toString());
      bytes = [];
    };
    for (const id of ids) {
      const at = id - END - 1;
      if (id < END) bytes.push(id);
      else if (at >= this.#specials.length) bytes.push(...Buffer.from(this.#words[at - this.#specials.length]!));
      else {
        flush();
        pieces.push({ special: this.#specials[at]! });
      }
    }
    flush();
    return pieces;
  }
}
