import type { Contribution, Figures } from '@shoal/protocol';
import { dayOf } from '../records/books.ts';

export const noFigures = (): Figures => ({ tokens: 0, rows: 0, verifiedRows: 0, servedSeconds: 0, busySeconds: 0 });

export function addFigures(sum: Figures, more: Readonly<Figures>): Figures {
  for (const name of Object.keys(sum) as (keyof Figures)[]) sum[name] += more[name];
  return sum;
}

const DAY_MS = 86_400_000;
const WEEK_DAYS = 7;
/** The first day of the week that ends with this one, as `YYYY-MM-DD`. */
export const weekStart = (epochMs: number): string => dayOf(epochMs - (WEEK_DAYS - 1) * DAY_MS);

/** What is kept of an account, and of what its browsers did. */
export interface KeptAccount {
  /** The donor whose row has its name; itself, where the donor was never added to another's account. */
  main: string;
  name: string | null;
  listed: boolean;
  team: { id: number; name: string } | null;
  browsers: number;
  spent: number;
  sinceMs: number | null;
  /** By day, and what was before the week that ends today. */
  days: ReadonlyMap<string, Figures>;
  earlier: Figures;
}

/**
 * An account of which at least one browser is here, in memory: what the database has, and what was handed to it since. So what pages
 * show is what the database will have within seconds, to the row.
 */
export class Account {
  #kept: KeptAccount;
  #days: Map<string, Figures>;
  #earlier: Figures;

  constructor(kept: KeptAccount) {
    this.#kept = kept;
    this.#days = copyOf(kept.days);
    this.#earlier = { ...kept.earlier };
  }

  get main(): string {
    return this.#kept.main;
  }

  /** What was read anew; nothing may be on its way to the database. */
  replace(kept: KeptAccount): void {
    this.#kept = kept;
    this.#days = copyOf(kept.days);
    this.#earlier = { ...kept.earlier };
  }

  add(day: string, more: Figures): void {
    const sum = this.#days.get(day);
    if (sum) addFigures(sum, more);
    else this.#days.set(day, { ...more });
    this.#kept.sinceMs ??= Date.parse(day);
  }

  /** In the account's order: today, the week that ends today, in all. */
  figures(nowMs: number): Record<'today' | 'week' | 'total', Figures> {
    const [today, since] = [dayOf(nowMs), weekStart(nowMs)];
    const [week, total] = [noFigures(), { ...this.#earlier }];
    for (const [day, figures] of this.#days) {
      addFigures(total, figures);
      if (day >= since) addFigures(week, figures);
    }
    return { today: { ...(this.#days.get(today) ?? noFigures()) }, week, total };
  }

  /** Credit that was not used. */
  credit(nowMs: number): number {
    return Math.max(0, this.figures(nowMs).total.tokens - this.#kept.spent);
  }

  view(
    nowMs: number,
    { kept, proven, hasCredit }: { kept: boolean; proven: boolean; hasCredit: boolean },
  ): Contribution {
    const { name, listed, team, browsers, sinceMs } = this.#kept;
    const credit = hasCredit ? this.credit(nowMs) : null;
    return { kept, proven, ...this.figures(nowMs), sinceMs, name, listed, team, browsers, credit };
  }
}

const copyOf = (days: KeptAccount['days']): Map<string, Figures> =>
  new Map([...days].map(([day, figures]) => [day, { ...figures }]));

/** Of a donor of whom nothing is known. */
export const newAccount = (donor: string): KeptAccount => ({
  main: donor,
  name: null,
  listed: false,
  team: null,
  browsers: 1,
  spent: 0,
  sinceMs: null,
  days: new Map(),
  earlier: noFigures(),
});
