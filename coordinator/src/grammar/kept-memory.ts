/** What keeps things to be faster, and finds them again when they are needed. */
export interface Forgetful {
  /** About what it keeps. */
  readonly keptBytes: number;
  forget(): void;
}

/** Bounds what all automata of a thread keep together; those that were used last keep theirs. */
export class KeptMemory {
  readonly #mostBytes: number;
  /** With the bytes of each when it was last used; the last comes last. */
  readonly #users = new Map<Forgetful, number>();
  #last: Forgetful | undefined;
  #bytes = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  get bytes(): number {
    return this.#bytes - (this.#users.get(this.#last!) ?? 0) + (this.#last?.keptBytes ?? 0);
  }

  /** Its keeping grows from now on, and that of the one before doesn't. */
  use(user: Forgetful): void {
    if (user === this.#last && this.bytes <= this.#mostBytes) return;
    if (this.#last) this.#count(this.#last);
    this.drop(user);
    this.#count(user);
    this.#last = user;
    for (const other of this.#users.keys()) {
      if (this.#bytes <= this.#mostBytes) break;
      other.forget();
      this.#count(other);
    }
  }

  drop(user: Forgetful): void {
    this.#bytes -= this.#users.get(user) ?? 0;
    this.#users.delete(user);
    if (this.#last === user) this.#last = undefined;
  }

  #count(user: Forgetful): void {
    this.#bytes += user.keptBytes - (this.#users.get(user) ?? 0);
    this.#users.set(user, user.keptBytes);
  }
}
