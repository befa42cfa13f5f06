import { EventEmitter } from 'node:events';
import { type AttentionItem, attentionItemSchema } from '@shoal/protocol';
import type { Cluster } from '../cluster/cluster.ts';
import { ToldMap } from '../cluster/told-map.ts';
import { Attention, united } from './attention.ts';
import type { Facts } from './facts.ts';

/** Between two looks. The rules speak of minutes. */
const LOOK_MS = 5_000;

/** Looks at the facts every few seconds, and tells the other coordinators what it finds, so that each knows all of it. */
export class AttentionWatch {
  /** `looked`: after each look, with what needs attention anywhere. */
  readonly events = new EventEmitter<{ looked: [items: readonly AttentionItem[]] }>();
  readonly #facts: () => Facts;
  readonly #attention: Attention;
  readonly #told: ToldMap<AttentionItem>;
  readonly #timer: NodeJS.Timeout;
  #own: readonly AttentionItem[] = [];

  constructor(facts: () => Facts, cluster: Cluster, member: string | undefined) {
    this.#facts = facts;
    this.#attention = new Attention({ member });
    this.#told = new ToldMap(cluster, 'attention', attentionItemSchema);
    this.#timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  /** Looks now. */
  look(): void {
    const before = new Map(this.#own.map((item) => [item.key, item]));
    this.#own = this.#attention.look(this.#facts());
    for (const item of this.#own) {
      if (!isSame(item, before.get(item.key))) this.#told.set(item.key, item);
      before.delete(item.key);
    }
    for (const key of before.keys()) this.#told.set(key, undefined);
    this.events.emit('looked', this.items);
  }

  /** What needs attention at this coordinator or at others, the most urgent first. */
  get items(): AttentionItem[] {
    return united([this.#own, ...[...this.#told.others().values()].map((told) => [...told.values()])]);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#told.close();
  }
}

const isSame = (a: AttentionItem, b: AttentionItem | undefined): boolean => JSON.stringify(a) === JSON.stringify(b);
