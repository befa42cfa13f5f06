import type { Automaton, State } from './automaton.ts';
import { GrammarError, unsupported } from './grammar-error.ts';
import type { Masks } from './masks.ts';

/** Where one answer is in its grammar. */
export class Session {
  readonly #masks: Masks;
  readonly #automaton: Automaton;
  #state: State;
  /** A token that ends answers has come. */
  #hasEnded = false;
  #failure: Error | undefined;

  /** `begun` is what stands of the answer already. Throws a GrammarError if the grammar has no such beginning. */
  constructor(masks: Masks, automaton: Automaton, begun = '') {
    this.#masks = masks;
    this.#automaton = automaton;
    automaton.begin();
    const state = automaton.read(automaton.start, Buffer.from(begun));
    if (!state)
      throw unsupported('its last text is not the beginning of an answer that fits; change it, or leave it out');
    this.#state = state;
  }

  /** About what the state takes that it is in. */
  get heldBytes(): number {
    return this.#failure || this.#hasEnded ? 0 : this.#state.bytes;
  }

  accept(token: number): void {
    if (this.#failure || this.#hasEnded) return;
    if (this.#masks.isEnd(token)) {
      // A request that goes on beyond its end has nothing more to be held to.
      this.#hasEnded = true;
      return;
    }
    try {
      const next = this.#masks.read(this.#automaton, this.#state, token);
      if (!next) throw new GrammarError('failed', `token ${token} came, which the answer’s grammar does not allow`);
      this.#state = next;
    } catch (thrown) {
      // Nobody waits here; it is told when somebody asks.
      this.#failure = thrown as Error;
    }
  }

  allowedDrafts(drafts: readonly number[]): number {
    return this.#statesAfter(drafts).length - 1;
  }

  /** Undefined for what would follow a draft that may not come, and for what follows the end. */
  masks(drafts: readonly number[]): (Uint32Array | undefined)[] {
    const states = this.#statesAfter(drafts);
    return Array.from({ length: drafts.length + 1 }, (_, index) => {
      const state = states[index];
      return state && this.#masks.of(this.#automaton, state);
    });
  }

  /** The states after none, one, two, … of the drafts, as far as they may come; undefined after the end. */
  #statesAfter(drafts: readonly number[]): (State | undefined)[] {
    if (this.#failure) throw this.#failure;
    let state: State | undefined = this.#hasEnded ? undefined : this.#state;
    const states = [state];
    for (const draft of drafts) {
      if (!state) break;
      if (this.#masks.isEnd(draft)) {
        if (this.#masks.mayEndWith(this.#automaton, state, draft)) states.push(undefined);
        break;
      }
      const next = this.#masks.read(this.#automaton, state, draft);
      if (!next) break;
      state = next;
      states.push(state);
    }
    return states;
  }
}
