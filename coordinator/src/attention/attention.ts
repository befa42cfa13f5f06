import { steadyUnixMs } from '../base/clock.ts';
import { type AttentionItem, ranked } from '@shoal/protocol';
import type { Facts, Found, Rule } from './facts.ts';
import { RULES } from './rules/index.ts';

interface Condition {
  /** Since when it has held without a longer break, by the clock of the facts and by the epoch's. */
  sinceMs: number;
  sinceEpochMs: number;
  lastSeenMs: number;
  isRaised: boolean;
  found: Found;
}

export interface AttentionOptions {
  /** Name of this coordinator, where there may be several. */
  member?: string | undefined;
  rules?: readonly Rule[];
  /** Epoch milliseconds. */
  epochNow?: () => number;
}

/** Applies the rules to facts again and again, and remembers what holds, so that nothing flaps. */
export class Attention {
  readonly #member: string | undefined;
  readonly #rules: readonly Rule[];
  readonly #epochNow: () => number;
  readonly #conditions = new Map<Rule, Condition>();

  constructor({ member, rules = RULES, epochNow = steadyUnixMs }: AttentionOptions = {}) {
    this.#member = member;
    this.#rules = rules;
    this.#epochNow = epochNow;
  }

  /** Takes the facts as they are now, and returns what needs attention, the most urgent first. */
  look(facts: Facts): AttentionItem[] {
    for (const rule of this.#rules) this.#apply(rule, facts);
    const items: AttentionItem[] = [];
    for (const [rule, { isRaised, found, sinceEpochMs }] of this.#conditions) {
      if (!isRaised) continue;
      const isOwn = rule.about === 'coordinator' && this.#member !== undefined;
      items.push({
        key: isOwn ? `${rule.name} ${this.#member}` : rule.name,
        ...found,
        sinceMs: sinceEpochMs,
        ...(isOwn && { coordinator: this.#member }),
      });
    }
    return ranked(items);
  }

  #apply(rule: Rule, facts: Facts): void {
    const known = this.#conditions.get(rule);
    const found = rule.check(facts, known?.isRaised ?? false);
    const { nowMs } = facts;
    if (!found) {
      // What has not been shown yet begins anew: it must hold without a break.
      if (known && (!known.isRaised || nowMs - known.lastSeenMs >= rule.clearAfterMs)) this.#conditions.delete(rule);
      return;
    }
    const fresh = { sinceMs: nowMs, sinceEpochMs: this.#epochNow(), isRaised: false };
    const condition = { ...(known ?? fresh), found, lastSeenMs: nowMs };
    condition.isRaised ||= nowMs - condition.sinceMs >= rule.raiseAfterMs;
    this.#conditions.set(rule, condition);
  }
}

/** What several coordinators have found: of what all see alike, the most severe, since it was first seen. */
export function united(all: readonly (readonly AttentionItem[])[]): AttentionItem[] {
  const byKey = new Map<string, AttentionItem>();
  for (const item of ranked(all.flat())) {
    const known = byKey.get(item.key);
    byKey.set(item.key, known ? { ...known, sinceMs: Math.min(known.sinceMs, item.sinceMs) } : item);
  }
  return ranked([...byKey.values()]);
}
