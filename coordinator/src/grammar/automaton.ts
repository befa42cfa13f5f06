import { GrammarError } from './grammar-error.ts';
import type { Forgetful } from './kept-memory.ts';
import type { Instruction, Program } from './program.ts';

/** Where a rule that was called goes on, and where the rule that called it does. */
interface Frame {
  readonly id: number;
  readonly at: number;
  readonly parent: Frame | undefined;
  /** With itself. */
  readonly depth: number;
}

/** One way to read the text so far: an instruction that waits for a byte or token, and the rules around it. */
interface Thread {
  readonly at: number;
  readonly frame: Frame | undefined;
}

/** All ways to read the text so far. */
export class State {
  /** By byte class: null if no text goes on so, undefined until somebody asks. */
  readonly next: (State | null | undefined)[];
  readonly threads: readonly Thread[];
  /** Whether the answer may end here. */
  readonly isComplete: boolean;
  /** Whether everything may come, since the grammar has not begun. */
  readonly isFree: boolean;
  mask: Uint32Array | undefined;
  /** About what it takes by itself, and what the frames take that it alone may need. */
  readonly bytes: number;

  constructor(
    links: readonly undefined[],
    threads: readonly Thread[],
    { isComplete = false, isFree = false, depths = 0 } = {},
  ) {
    this.next = links.slice();
    this.threads = threads;
    this.bytes = STATE_BYTES + 8 * links.length + THREAD_BYTES * threads.length + FRAME_BYTES * depths;
    this.isComplete = isComplete;
    this.isFree = isFree;
  }
}

/** Ways to read one text. Sensible grammars have a few, or one for each of many alternatives at their beginning. */
const MAX_THREADS = 8_192;
/** Of all threads of a state: rules in each other. */
const MAX_DEPTHS = 2 ** 17;
/** Steps that one token, or one mask, may take: 10 to 30 ms. A mask of a sensible grammar takes some thousands. */
const MAX_STEPS = 2 ** 17;
/** What a new frame counts as. */
const FRAME_STEPS = 4;
/** Of states, frames and masks that are kept; they are found again when they are needed. */
const MAX_KEPT_BYTES = 24 * 2 ** 20;
/** In memory, with their entries in maps. */
const STATE_BYTES = 400;
const THREAD_BYTES = 80;
const FRAME_BYTES = 56;
const ENTRY_BYTES = 64;
const MASK_BYTES = 400;

/** Reads texts by a program, as a deterministic machine that is made while it runs. */
export class Automaton implements Forgetful {
  readonly start: State;
  /** By byte; bytes of a class are the same to the grammar. */
  readonly classOf: Uint8Array;
  readonly #program: Program;
  /** A byte of each class. */
  readonly #bytes: number[] = [];
  /** Of a state that was not gone on from. */
  readonly #links: readonly undefined[];
  readonly #states = new Map<string, State>();
  /** After a byte by where that leads, if it is to one place. */
  readonly #places = new Map<number, State | null>();
  readonly #frames = new Map<number, Frame>();
  /** Whose links and masks are to be cut. */
  readonly #linked = new Set<State>();
  #keptBytes = 0;
  #frameCount = 0;
  #steps = 0;

  /** With `after`, the grammar begins where this text first ends. */
  constructor(program: Program, after = '') {
    this.#program = program;
    const marker = Buffer.from(after);
    this.classOf = byteClasses(program.instructions, marker);
    for (const [byte, byteClass] of this.classOf.entries()) this.#bytes[byteClass] ??= byte;
    this.#links = this.#bytes.map(() => undefined);
    const first = this.#close([{ at: program.entries[0]!, frame: undefined }])!;
    this.start = marker.length === 0 ? first : this.#search(marker, first);
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** What follows is one token or one mask. */
  begin(): void {
    this.#steps = 0;
  }

  step(state: State, byteClass: number): State | null {
    const known = state.next[byteClass];
    if (known !== undefined) return known;
    this.#spend(state.threads.length / 8);
    const byte = this.#bytes[byteClass]!;
    const reached: Thread[] = [];
    for (const { at, frame } of state.threads) {
      const instruction = this.#program.instructions[at]!;
      if (instruction.op === 'byte' && instruction.first <= byte && byte <= instruction.last)
        reached.push({ at: instruction.next, frame });
    }
    const next = this.#afterByte(reached);
    state.next[byteClass] = next;
    this.#linked.add(state);
    return next;
  }

  /** Many bytes lead from many states to the same one place, such as the next character of a string. */
  #afterByte(reached: Thread[]): State | null {
    const [only] = reached;
    if (!only || reached.length > 1) return this.#close(reached);
    const key = this.#keyOf(only);
    let next = this.#places.get(key);
    if (next === undefined) {
      next = this.#close(reached);
      this.#places.set(key, next);
      this.#keptBytes += ENTRY_BYTES;
    }
    return next;
  }

  /** After all of the bytes; null if no text goes on so. */
  read(state: State, bytes: Uint8Array): State | null {
    let at: State | null = state;
    for (let index = 0; at && index < bytes.length; index++) at = this.step(at, this.classOf[bytes[index]!]!);
    return at;
  }

  /** Special tokens that may come as such. */
  tokens(state: State): ReadonlySet<number> {
    this.#spend(state.threads.length / 8);
    const ids = state.threads.flatMap(({ at }) => {
      const instruction = this.#program.instructions[at]!;
      return instruction.op === 'token' ? [instruction.id] : [];
    });
    return new Set(ids);
  }

  /** Until it is forgotten. */
  keepMask(state: State, mask: Uint32Array): void {
    state.mask = mask;
    this.#linked.add(state);
    this.#keptBytes += MASK_BYTES + mask.byteLength;
  }

  readToken(state: State, id: number): State | null {
    this.#spend(state.threads.length / 8);
    const reached = state.threads.flatMap(({ at, frame }) => {
      const instruction = this.#program.instructions[at]!;
      return instruction.op === 'token' && instruction.id === id ? [{ at: instruction.next, frame }] : [];
    });
    return this.#close(reached);
  }

  /** The state of all threads that wait for a byte or token after those given have gone as far as they can. */
  #close(open: Thread[]): State | null {
    const waiting: Thread[] = [];
    const seen = new Set<number>();
    let isComplete = false;
    for (let thread = open.pop(); thread; thread = open.pop()) {
      const { at, frame } = thread;
      const key = this.#keyOf(thread);
      // Also those that are seen again, of which there may be many more.
      this.#spend(1);
      if (seen.has(key)) continue;
      seen.add(key);
      const instruction = this.#program.instructions[at]!;
      switch (instruction.op) {
        case 'split':
          this.#spend(instruction.targets.length / 4);
          for (const target of instruction.targets) open.push({ at: target, frame });
          break;
        case 'call':
          open.push({ at: this.#program.entries[instruction.rule]!, frame: this.#frame(instruction.next, frame) });
          break;
        case 'return':
          if (frame) open.push({ at: frame.at, frame: frame.parent });
          else isComplete = true;
          break;
        default:
          waiting.push(thread);
      }
    }
    return waiting.length === 0 && !isComplete ? null : this.#stateOf(waiting, isComplete);
  }

  /** Distinct for any thread; small, since maps are faster with numbers below 2^30. */
  #keyOf({ at, frame }: Thread): number {
    return (frame?.id ?? 0) * this.#program.instructions.length + at;
  }

  #spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > MAX_STEPS) throw ambiguous();
  }

  #stateOf(threads: Thread[], isComplete: boolean): State {
    if (threads.length > MAX_THREADS) throw ambiguous();
    // They are sorted.
    this.#spend(threads.length);
    const key = threads
      .map((thread) => this.#keyOf(thread))
      .sort((a, b) => a - b)
      .join(isComplete ? ' ' : ',');
    const known = this.#states.get(key);
    if (known) return known;
    if (this.#keptBytes > MAX_KEPT_BYTES) this.forget();
    const depths = threads.reduce((sum, { frame }) => sum + (frame?.depth ?? 0), 0);
    if (depths > MAX_DEPTHS) throw ambiguous();
    const state = new State(this.#links, threads, { isComplete, depths });
    this.#states.set(key, state);
    // Frames are counted where they are made.
    this.#keptBytes += state.bytes - FRAME_BYTES * depths;
    return state;
  }

  #frame(at: number, parent: Frame | undefined): Frame | undefined {
    // What returns at once need not be returned to.
    if (this.#program.instructions[at]!.op === 'return') return parent;
    const key = this.#keyOf({ at, frame: parent });
    let frame = this.#frames.get(key);
    if (!frame) {
      this.#spend(FRAME_STEPS);
      frame = { id: ++this.#frameCount, at, parent, depth: (parent?.depth ?? 0) + 1 };
      this.#frames.set(key, frame);
      this.#keptBytes += FRAME_BYTES + ENTRY_BYTES;
    }
    return frame;
  }

  /** Answers keep the states that they are in; the links from those are cut, so that the others can go. */
  forget(): void {
    for (const state of this.#linked) {
      if (!state.isFree) state.next.fill(undefined);
      state.mask = undefined;
    }
    this.#linked.clear();
    this.#states.clear();
    this.#places.clear();
    this.#frames.clear();
    this.#keptBytes = 0;
  }

  /** States that everything is allowed in, until the marker's last byte leads to `then` (Knuth, Morris and Pratt's). */
  #search(marker: Uint8Array, then: State): State {
    const free = Array.from(marker, () => new State(this.#links, [], { isFree: true }));
    let border = 0;
    for (const [length, state] of free.entries()) {
      const expected = this.classOf[marker[length]!]!;
      const shorter = length > 0 ? free[border]! : undefined;
      for (let byteClass = 0; byteClass < this.#bytes.length; byteClass++)
        state.next[byteClass] = shorter ? shorter.next[byteClass]! : state;
      state.next[expected] = free[length + 1] ?? then;
      // The longest proper end of what has come that the marker begins with.
      if (length > 0) border = free.indexOf(shorter!.next[expected]!);
    }
    return free[0]!;
  }
}

/** Bytes that no instruction tells apart; the marker's have classes of their own. */
function byteClasses(instructions: readonly Instruction[], marker: Uint8Array): Uint8Array {
  const begins = new Uint8Array(257);
  for (const instruction of instructions) {
    if (instruction.op !== 'byte') continue;
    begins[instruction.first] = 1;
    begins[instruction.last + 1] = 1;
  }
  for (const byte of marker) begins[byte] = begins[byte + 1] = 1;
  let current = 0;
  return Uint8Array.from({ length: 256 }, (_, byte) => (byte > 0 && begins[byte] ? ++current : current));
}

const ambiguous = (): GrammarError =>
  new GrammarError('too-large', 'the grammar reads a text in too many ways; make its alternatives begin differently');
