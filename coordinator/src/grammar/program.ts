import { call, type Expression, isBroken, NEVER, type Rule } from './expression.ts';
import { unsupported, WorkBudget } from './grammar-error.ts';
import { productiveParts } from './productive.ts';
import { utf8Ranges } from './utf8-ranges.ts';

/** One step of a program. */
export type Instruction =
  | { op: 'byte'; first: number; last: number; next: number }
  | { op: 'token'; id: number; next: number }
  | { op: 'split'; targets: number[] }
  /** Goes on at `next` when the rule has returned. */
  | { op: 'call'; rule: number; next: number }
  | { op: 'return' };

/** A grammar as a program of a nondeterministic machine with a stack (as Thompson's for regular expressions). */
export interface Program {
  readonly instructions: readonly Instruction[];
  /** Where each rule begins; the first is where the answer does. */
  readonly entries: readonly number[];
}

/** Bounds a program's memory (about 100 bytes each) and the time to make it. */
const MAX_INSTRUCTIONS = 200_000;
/** Of expressions in each other. */
const MAX_DEPTH = 500;
/** Of a repeated part in a program. */
const MAX_COPIES = 3;
/** Where a rule ends. */
const RETURN = 0;

/** Throws a GrammarError if nothing can fit the expression, or it is too large. */
export function compileProgram(root: Expression): Program {
  const program = new ProgramBuilder(root).build(root);
  refuseLeftRecursion(program);
  return program;
}

class ProgramBuilder {
  readonly #instructions: Instruction[] = [{ op: 'return' }];
  readonly #entries: number[] = [];
  readonly #ruleNumbers = new Map<Rule, number>();
  readonly #rules: Rule[] = [];
  readonly #productive: ReadonlySet<Expression>;
  readonly #repeated = new Map<Expression, Rule>();
  readonly #budget = new WorkBudget(MAX_INSTRUCTIONS, 'parts in all');
  /** Shares the ends of characters' bytes. */
  readonly #bytes = new Map<string, number>();

  constructor(root: Expression) {
    this.#rules.push({ name: 'root', body: root });
    this.#productive = productiveParts(root);
  }

  build(root: Expression): Program {
    if (!this.#productive.has(root)) throw unsupported('no finite text fits it');
    // Rules are added while others are compiled.
    for (let index = 0; index < this.#rules.length; index++)
      this.#entries[index] = this.#compile(this.#rules[index]!.body ?? NEVER, RETURN, 0);
    return { instructions: this.#instructions, entries: this.#entries };
  }

  /** Returns where the expression begins, if what follows it begins at `next`. */
  #compile(expression: Expression, next: number, depth: number): number {
    if (depth > MAX_DEPTH) throw unsupported(`it is nested more than ${MAX_DEPTH} deep`);
    this.#budget.spend();
    switch (expression.kind) {
      case 'text':
        if (isBroken(expression.text)) throw unsupported('a text with half of a surrogate pair; leave it out');
        return Buffer.from(expression.text).reduceRight((at, byte) => this.#byte(byte, byte, at), next);
      case 'chars':
        return this.#chars(expression, next);
      case 'token':
        return this.#add({ op: 'token', id: expression.id, next });
      case 'sequence':
        return expression.parts.reduceRight((at, part) => this.#compile(part, at, depth + 1), next);
      case 'choice': {
        const options = expression.options.filter((option) => this.#productive.has(option));
        return this.#split(options.map((option) => this.#compile(option, next, depth + 1)));
      }
      case 'repeat':
        return this.#repeat(expression, next, depth);
      case 'rule':
        return this.#add({ op: 'call', rule: this.#ruleNumber(expression.rule), next });
    }
  }

  #chars({ ranges }: Extract<Expression, { kind: 'chars' }>, next: number): number {
    const targets: number[] = [];
    for (const range of ranges)
      for (const bytes of utf8Ranges(range))
        targets.push(bytes.reduceRight((at, [first, last]) => this.#byte(first, last, at), next));
    return this.#split(targets);
  }

  #repeat({ part, least, most }: Extract<Expression, { kind: 'repeat' }>, next: number, depth: number): number {
    const isPossible = this.#productive.has(part);
    const copies = most === Infinity ? least + 1 : most;
    if (isPossible && copies > MAX_COPIES) {
      // A rule is written once.
      const rule = this.#repeated.get(part) ?? { name: 'repeated', body: part };
      this.#repeated.set(part, rule);
      return this.#copies(call(rule), least, most, next, depth);
    }
    return this.#copies(part, least, isPossible ? most : 0, next, depth);
  }

  #copies(part: Expression, least: number, most: number, next: number, depth: number): number {
    let at = next;
    if (most === Infinity) {
      const targets: number[] = [];
      this.#budget.spend(2);
      at = this.#add({ op: 'split', targets });
      targets.push(this.#compile(part, at, depth + 1), next);
    } else {
      for (let count = least; count < most; count++) at = this.#split([this.#compile(part, at, depth + 1), next]);
    }
    for (let count = 0; count < least; count++) at = this.#compile(part, at, depth + 1);
    return at;
  }

  #ruleNumber(rule: Rule): number {
    let number = this.#ruleNumbers.get(rule);
    if (number === undefined) {
      number = this.#rules.push(rule) - 1;
      this.#ruleNumbers.set(rule, number);
    }
    return number;
  }

  #byte(first: number, last: number, next: number): number {
    this.#budget.spend();
    const key = `${first} ${last} ${next}`;
    let at = this.#bytes.get(key);
    if (at === undefined) {
      at = this.#add({ op: 'byte', first, last, next });
      this.#bytes.set(key, at);
    }
    return at;
  }

  #split(options: readonly number[]): number {
    this.#budget.spend(options.length);
    // The same alternative twice would be gone through again and again.
    const targets = [...new Set(options)];
    return targets.length === 1 ? targets[0]! : this.#add({ op: 'split', targets });
  }

  #add(instruction: Instruction): number {
    return this.#instructions.push(instruction) - 1;
  }
}

/** A rule that can begin with itself would call itself for ever before it reads a byte. */
function refuseLeftRecursion({ instructions, entries }: Program): void {
  const nullable = new Set<number>();
  const first: Set<number>[] = [];
  const budget = new WorkBudget(4 * MAX_INSTRUCTIONS, 'steps to find rules that begin with themselves');
  for (let size = -1; size < nullable.size;) {
    size = nullable.size;
    // A rule is mostly called by those before it, so that this ends soon.
    for (let rule = entries.length - 1; rule >= 0; rule--) first[rule] = firstRules(rule);
  }
  const done = new Set<number>();
  for (const rule of entries.keys()) visit(rule, new Set());

  function firstRules(rule: number): Set<number> {
    const rules = new Set<number>();
    const seen = new Set<number>();
    const open = [entries[rule]!];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (seen.has(at)) continue;
      seen.add(at);
      budget.spend();
      const instruction = instructions[at]!;
      if (instruction.op === 'return') nullable.add(rule);
      if (instruction.op === 'split') {
        budget.spend(instruction.targets.length);
        for (const target of instruction.targets) open.push(target);
      }
      if (instruction.op !== 'call') continue;
      rules.add(instruction.rule);
      if (nullable.has(instruction.rule)) open.push(instruction.next);
    }
    return rules;
  }

  function visit(rule: number, path: Set<number>): void {
    if (path.has(rule)) throw unsupported('a rule begins with itself; let it begin with something else');
    if (done.has(rule)) return;
    if (path.size > 2 * MAX_DEPTH) throw unsupported(`its rules begin with each other more than ${2 * MAX_DEPTH} deep`);
    path.add(rule);
    for (const next of first[rule]!) visit(next, path);
    path.delete(rule);
    done.add(rule);
  }
}
