/** A bounded queue that takes clients in turn, and each one's items in order. */
export class ClientQueue<T> {
  readonly #maxItems: number;
  readonly #maxOfClient: number;
  /** The client whose turn is next comes first. A client without items has no entry. */
  readonly #items = new Map<string | undefined, T[]>();
  #size = 0;

  constructor(maxItems: number, maxOfClient: number) {
    this.#maxItems = maxItems;
    this.#maxOfClient = maxOfClient;
  }

  /** Returns which bound it reached, if it did not take the item. */
  add(client: string | undefined, item: T): 'full' | 'share-full' | undefined {
    const own = this.#items.get(client);
    if ((own?.length ?? 0) >= this.#maxOfClient) return 'share-full';
    if (this.#size >= this.#maxItems) return 'full';
    if (own) own.push(item);
    else this.#items.set(client, [item]);
    this.#size++;
    return undefined;
  }

  take(): T | undefined {
    for (const [client, own] of this.#items) {
      const item = own.shift()!;
      this.#items.delete(client);
      if (own.length > 0) this.#items.set(client, own);
      this.#size--;
      return item;
    }
    return undefined;
  }

  remove(client: string | undefined, item: T): void {
    const own = this.#items.get(client);
    const index = own?.indexOf(item) ?? -1;
    if (index === -1) return;
    own!.splice(index, 1);
    if (own!.length === 0) this.#items.delete(client);
    this.#size--;
  }
}
