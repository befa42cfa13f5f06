/** Reads a text character by character. */
export class CharacterReader {
  readonly characters: readonly string[];
  /** The index of the next character. */
  at = 0;
  readonly #endsEarly: () => Error;

  /** `endsEarly` makes the error for a text that has no next character where one is needed. */
  constructor(text: string, endsEarly: () => Error) {
    this.characters = Array.from(text);
    this.#endsEarly = endsEarly;
  }

  peek(): string | undefined {
    return this.characters[this.at];
  }

  /** Goes beyond the next character, if it is this one. */
  take(character: string): boolean {
    if (this.peek() !== character) return false;
    this.at++;
    return true;
  }

  /** Throws if there is none. */
  next(): string {
    const character = this.characters[this.at++];
    if (character === undefined) throw this.#endsEarly();
    return character;
  }
}
