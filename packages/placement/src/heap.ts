/** A binary min-heap of numbers by key; ties go to the lower value. */
export class MinHeap {
  readonly #values: number[] = [];
  readonly #keys: number[] = [];

  push(value: number, key: number): void {
    let i = this.#values.length;
    this.#values.push(value);
    this.#keys.push(key);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#less(i, parent)) return;
      this.#swap(i, parent);
      i = parent;
    }
  }

  pop(): { value: number; key: number } | undefined {
    const last = this.#values.length - 1;
    if (last < 0) return undefined;
    this.#swap(0, last);
    const popped = { value: this.#values.pop()!, key: this.#keys.pop()! };
    let i = 0;
    for (;;) {
      let least = i;
      for (const child of [2 * i + 1, 2 * i + 2]) if (child < last && this.#less(child, least)) least = child;
      if (least === i) return popped;
      this.#swap(i, least);
      i = least;
    }
  }

  #less(a: number, b: number): boolean {
    const difference = this.#keys[a]! - this.#keys[b]!;
    return difference < 0 || (difference === 0 && this.#values[a]! < this.#values[b]!);
  }

  #swap(a: number, b: number): void {
    [this.#values[a], this.#values[b]] = [this.#values[b]!, this.#values[a]!];
    [this.#keys[a], this.#keys[b]] = [this.#keys[b]!, this.#keys[a]!];
  }
}
