import { Automaton } from './automaton.ts';
import { type Expression, sequence } from './expression.ts';
import { expressionOf } from './expression-of.ts';
import { GrammarError } from './grammar-error.ts';
import { WHITESPACE } from './json/json-values.ts';
import { asOneSource } from './json/source-work.ts';
import { Masks } from './masks.ts';
import { compileProgram, type Program } from './program.ts';
import { Session } from './session.ts';
import type { GrammarOrder, GrammarReply } from './thread-messages.ts';
import { bytesOfToken, type Vocabulary } from './vocabulary.ts';

/** A compiled grammar, for each text that it begins after. */
interface HostedGrammar {
  expression: Expression;
  automata: Map<string, Automaton>;
  instructions: number;
}

/** Of all grammars, of about 70 bytes each: half as many again as `Grammars` keeps without somebody using them. */
const MAX_INSTRUCTIONS = 1_500_000;
/** Of the states that answers are in, beyond which those with much to remember fail. */
const MAX_HELD_BYTES = 64 * 2 ** 20;
/** An answer may always have this much; a common one has a few KB. */
const MIN_HELD_BYTES = 16_384;

/** What the thread of `Grammars` does with its orders. */
export class GrammarHost {
  readonly #masks: Masks;
  /** Special tokens by their text. */
  readonly #specials: ReadonlyMap<string, number>;
  readonly #grammars = new Map<number, HostedGrammar>();
  /** Or why one could not be opened. */
  readonly #sessions = new Map<number, Session | GrammarError>();
  #instructions = 0;
  /** By the states that answers are in. */
  #heldBytes = 0;

  constructor(vocabulary: Vocabulary) {
    this.#masks = new Masks(vocabulary);
    const entries = vocabulary.specialIds.map(
      (id) => [Buffer.from(bytesOfToken(vocabulary, id)).toString(), id] as const,
    );
    this.#specials = new Map(entries.filter(([text]) => text !== ''));
  }

  /** About what is remembered for all answers and grammars, besides programs. */
  get keptBytes(): number {
    return this.#heldBytes + this.#masks.keptBytes;
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
        this.#drop(order.grammar);
        break;
      case 'open':
        this.#sessions.set(order.session, this.#open(order));
        break;
      case 'accept':
        this.#accept(order.session, order.token);
        break;
      case 'close': {
        const session = this.#sessions.get(order.session);
        if (session instanceof Session) this.#heldBytes -= session.heldBytes;
        this.#sessions.delete(order.session);
      }
    }
  }

  #drop(grammar: number): void {
    const hosted = this.#grammars.get(grammar);
    for (const automaton of hosted?.automata.values() ?? []) this.#masks.drop(automaton);
    this.#instructions -= hosted?.instructions ?? 0;
    this.#grammars.delete(grammar);
  }

  #accept(id: number, token: number): void {
    const session = this.#sessions.get(id);
    if (!(session instanceof Session)) return;
    this.#heldBytes -= session.heldBytes;
    session.accept(token);
    this.#heldBytes += session.heldBytes;
    if (this.#heldBytes <= MAX_HELD_BYTES || session.heldBytes <= MIN_HELD_BYTES) return;
    this.#heldBytes -= session.heldBytes;
    this.#sessions.set(id, fullOf('answers that read their grammars in many ways'));
  }

  #ask(order: Extract<GrammarOrder, { reply: number }>): number | (Uint32Array | undefined)[] {
    if (order.kind === 'compile') return this.#compile(order);
    const session = this.#sessions.get(order.session);
    if (!session) throw new GrammarError('failed', 'the answer has ended');
    if (!(session instanceof Session)) throw session;
    return order.kind === 'masks' ? session.masks(order.drafts) : session.allowedDrafts(order.drafts);
  }

  #compile({ grammar, source }: Extract<GrammarOrder, { kind: 'compile' }>): number {
    const expression = asOneSource(() => expressionOf(source, this.#specials));
    const program = compileProgram(expression);
    const automaton = new Automaton(program);
    const hosted: HostedGrammar = { expression, automata: new Map([['', automaton]]), instructions: 0 };
    this.#count(hosted, program);
    this.#grammars.set(grammar, hosted);
    try {
      // Throws if the model cannot write anything that fits.
      this.#masks.of(automaton, automaton.start);
    } catch (thrown) {
      this.#drop(grammar);
      throw thrown;
    }
    return program.instructions.length;
  }

  #open({ grammar, after, begun }: Extract<GrammarOrder, { kind: 'open' }>): Session | GrammarError {
    const hosted = this.#grammars.get(grammar);
    if (!hosted) return new GrammarError('failed', 'the answer’s grammar was not compiled');
    try {
      let automaton = hosted.automata.get(after);
      if (!automaton) {
        const program = compileProgram(sequence(WHITESPACE, hosted.expression));
        automaton = new Automaton(program, after);
        this.#count(hosted, program);
        hosted.automata.set(after, automaton);
      }
      const session = new Session(this.#masks, automaton, begun);
      this.#heldBytes += session.heldBytes;
      return session;
    } catch (thrown) {
      return errorOf(thrown);
    }
  }

  #count(hosted: HostedGrammar, { instructions }: Program): void {
    if (this.#instructions + instructions.length > MAX_INSTRUCTIONS) throw fullOf('answers with large grammars');
    this.#instructions += instructions.length;
    hosted.instructions += instructions.length;
  }
}

const fullOf = (what: string): GrammarError =>
  new GrammarError('full', `there are too many ${what}; try again in a moment`);

function errorOf(thrown: unknown): GrammarError {
  if (thrown instanceof GrammarError) return thrown;
  // The stack is full: something is nested deeper than the limits foresee.
  if (thrown instanceof RangeError) return new GrammarError('too-large', 'it is nested too deep');
  return new GrammarError('failed', thrown instanceof Error ? thrown.message : String(thrown));
}
