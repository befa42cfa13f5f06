import type { Automaton, State } from './automaton.ts';
import { GrammarError } from './grammar-error.ts';
import { KeptMemory } from './kept-memory.ts';
import { type TokenTrie, tokenTrie } from './token-trie.ts';
import { bytesOfToken, type Vocabulary } from './vocabulary.ts';

/** Of states, frames and masks, by all automata. */
const MAX_KEPT_BYTES = 64 * 2 ** 20;

/** Finds which tokens may come in which state, by walking the tree of all tokens. */
export class Masks {
  readonly vocabulary: Vocabulary;
  readonly #trie: TokenTrie;
  readonly #endIds: ReadonlySet<number>;
  readonly #specialIds: ReadonlySet<number>;
  readonly #memory: KeptMemory;
  readonly #path: (State | null)[];

  constructor(vocabulary: Vocabulary, maxKeptBytes = MAX_KEPT_BYTES) {
    this.vocabulary = vocabulary;
    this.#trie = tokenTrie(vocabulary);
    this.#endIds = new Set(vocabulary.endIds);
    this.#specialIds = new Set(vocabulary.specialIds);
    this.#memory = new KeptMemory(maxKeptBytes);
    this.#path = Array.from({ length: this.#trie.maxDepth + 1 }, () => null);
  }

  get words(): number {
    return Math.ceil(this.vocabulary.size / 32);
  }

  /** What all automata keep. */
  get keptBytes(): number {
    return this.#memory.bytes;
  }

  /** The automaton is not used any more. */
  drop(automaton: Automaton): void {
    this.#memory.drop(automaton);
  }

  isEnd(id: number): boolean {
    return this.#endIds.has(id);
  }

  /** Whether an answer may end with this token: as its end, or as the last thing that the grammar names. */
  mayEndWith(automaton: Automaton, state: State, id: number): boolean {
    if (state.isComplete) return true;
    this.#begin(automaton);
    return this.#isLastOf(automaton, state, id);
  }

  #isLastOf(automaton: Automaton, state: State, id: number): boolean {
    return !state.isFree && automaton.readToken(state, id)?.isComplete === true;
  }

  /** The state after one more token, which ends no answer; null if it may not come. */
  read(automaton: Automaton, state: State, id: number): State | null {
    this.#begin(automaton);
    return this.#after(automaton, state, id);
  }

  /** Bit t % 32 of word ⌊t / 32⌋ is 1 if token t may come. Shared memory that is never changed. */
  of(automaton: Automaton, state: State): Uint32Array {
    return state.mask ?? this.#make(automaton, state);
  }

  #begin(automaton: Automaton): void {
    this.#memory.use(automaton);
    automaton.begin();
  }

  #after(automaton: Automaton, state: State, id: number): State | null {
    const bytes = bytesOfToken(this.vocabulary, id);
    if (this.#specialIds.has(id) && !state.isFree) return automaton.readToken(state, id);
    return bytes.length > 0 || this.#specialIds.has(id) ? automaton.read(state, bytes) : null;
  }

  #make(automaton: Automaton, state: State): Uint32Array {
    // Written in ordinary memory, which is faster.
    const mask = new Uint32Array(this.words);
    this.#begin(automaton);
    this.#walk(automaton, state, mask);
    const specials = state.isFree ? this.#specialIds : automaton.tokens(state);
    for (const id of specials)
      if (this.isEnd(id) ? this.#isLastOf(automaton, state, id) : this.#after(automaton, state, id)) allow(mask, id);
    if (state.isComplete) for (const id of this.#endIds) allow(mask, id);
    if (mask.every((word) => word === 0)) throw noToken();
    const shared = new Uint32Array(new SharedArrayBuffer(mask.byteLength));
    shared.set(mask);
    automaton.keepMask(state, shared);
    return shared;
  }

  #walk(automaton: Automaton, state: State, mask: Uint32Array): void {
    const { nodes, bytes, depths, ends, tokens, sameBytes } = this.#trie;
    const { classOf } = automaton;
    const path = this.#path;
    path[0] = state;
    for (let node = 0; node < nodes;) {
      const depth = depths[node]!;
      const from = path[depth - 1]!;
      const byteClass = classOf[bytes[node]!]!;
      let to = from.next[byteClass];
      if (to === undefined) to = automaton.step(from, byteClass);
      if (to === null) {
        node = ends[node]!;
        continue;
      }
      path[depth] = to;
      for (let id = tokens[node]!; id >= 0; id = sameBytes[id]!) mask[id >>> 5]! |= 1 << (id & 31);
      node++;
    }
    path.fill(null);
  }
}

function allow(mask: Uint32Array, id: number): void {
  mask[id >>> 5]! |= 1 << (id & 31);
}

const noToken = (): GrammarError =>
  new GrammarError('unsupported', 'the model has no token that what was asked for could go on with');
