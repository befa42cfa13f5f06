import { Automaton } from './automaton.ts';
import { type Expression, sequence } from './expression.ts';
import { expressionOf } from './expression-of.ts';
import { GrammarError } from './grammar-error.ts';
import { WHITESPACE } from './json/json-values.ts';
import { Masks } from './masks.ts';
import { compileProgram } from './program.ts';
import { Session } from './session.ts';
import type { GrammarOrder, GrammarReply } from './thread-messages.ts';
import { bytesOfToken, type Vocabulary } from './vocabulary.ts';

/** A compiled grammar, for each text that it begins after. */
interface HostedGrammar {
  expression: Expression;
  automata: Map<string, Automaton>;
}

/** What the thread of `Grammars` does with its orders. */
export class GrammarHost {
  readonly #masks: Masks;
  /** Special tokens by their text. */
  readonly #specials: ReadonlyMap<string, number>;
  readonly #grammars = new Map<number, HostedGrammar>();
  /** Or why one could not be opened. */
  readonly #sessions = new Map<number, Session | GrammarError>();

  constructor(vocabulary: Vocabulary) {
    this.#masks = new Masks(vocabulary);
    const entries = vocabulary.specialIds.map(
      (id) => [Buffer.from(bytesOfToken(vocabulary, id)).toString(), id] as const,
    );
    this.#specials = new Map(entries.filter(([text]) => text !== ''));
  }

  /** The replies to those orders that ask for one. */
  obey(orders: readonly GrammarOrder[]): GrammarReply[] {
    return orders.flatMap((order): GrammarReply[] => {
      if (!('reply' in order)) {
        this.#tell(order);
        return [];
      }
      try {
        return [{ reply: order.reply, value: this.#ask(order) }];
      } catch (thrown) {
        const { reason, message } = errorOf(thrown);
        return [{ reply: order.reply, error: { reason, message } }];
      }
    });
  }

  #tell(order: Exclude<GrammarOrder, { reply: number }>): void {
    switch (order.kind) {
      case 'drop':
        this.#grammars.delete(order.grammar);
        break;
      case 'open':
        this.#sessions.set(order.session, this.#open(order));
        break;
      case 'accept': {
        const session = this.#sessions.get(order.session);
        if (session instanceof Session) session.accept(order.token);
        break;
      }
      case 'close':
        this.#sessions.delete(order.session);
    }
  }

  #ask(order: Extract<GrammarOrder, { reply: number }>): number | (Uint32Array | undefined)[] {
    if (order.kind === 'compile') return this.#compile(order);
    const session = this.#sessions.get(order.session);
    if (!session) throw new GrammarError('failed', 'the answer has ended');
    if (!(session instanceof Session)) throw session;
    return order.kind === 'masks' ? session.masks(order.drafts) : session.allowedDrafts(order.drafts);
  }

  #compile({ grammar, source }: Extract<GrammarOrder, { kind: 'compile' }>): number {
    const expression = expressionOf(source, this.#specials);
    const program = compileProgram(expression);
    const automaton = new Automaton(program);
    // Throws if the model cannot write anything that fits.
    this.#masks.of(automaton, automaton.start);
    this.#grammars.set(grammar, { expression, automata: new Map([['', automaton]]) });
    return program.instructions.length;
  }

  #open({ grammar, after, begun }: Extract<GrammarOrder, { kind: 'open' }>): Session | GrammarError {
    const hosted = this.#grammars.get(grammar);
    if (!hosted) return new GrammarError('failed', 'the answer’s grammar was not compiled');
    try {
      let automaton = hosted.automata.get(after);
      if (!automaton) {
        automaton = new Automaton(compileProgram(sequence(WHITESPACE, hosted.expression)), after);
        hosted.automata.set(after, automaton);
      }
      return new Session(this.#masks, automaton, begun);
    } catch (thrown) {
      return errorOf(thrown);
    }
  }
}

function errorOf(thrown: unknown): GrammarError {
  if (thrown instanceof GrammarError) return thrown;
  // The stack is full: something is nested deeper than the limits foresee.
  if (thrown instanceof RangeError) return new GrammarError('too-large', 'it is nested too deep');
  return new GrammarError('failed', thrown instanceof Error ? thrown.message : String(thrown));
}
