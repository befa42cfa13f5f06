import { type Liar, nthLiar } from './liars.ts';
import type { TabMaker, Victim } from './victims.ts';

/** A dishonest tab of the run. */
export interface KnownLiar extends Liar {
  victim: Victim;
}

/** Tabs kept at their number, whatever becomes of them; and the liars that join beside them. */
export class Crowd {
  readonly liars: KnownLiar[] = [];
  readonly #former: Victim[] = [];
  readonly #members = new Map<Victim, TabMaker>();

  /** One of those that are not gone; `share` from 0 to 1 names it. */
  pick(share: number): Victim {
    const there = this.members;
    return there[Math.floor(share * there.length)]!;
  }

  get members(): Victim[] {
    return [...this.#members.keys()];
  }

  async gather(makers: readonly { maker: TabMaker; count: number }[]): Promise<void> {
    const opened = makers.flatMap(({ maker, count }) =>
      Array.from({ length: count }, async () => ({ maker, victim: await maker.open() })),
    );
    for (const { maker, victim } of await Promise.all(opened)) this.#members.set(victim, maker);
  }

  /** In the place of one that has ended, or that has frozen, whose process stays as it is until the end. */
  async replace(victim: Victim): Promise<void> {
    const maker = this.#members.get(victim)!;
    this.#members.delete(victim);
    this.#former.push(victim);
    this.#members.set(await maker.open(), maker);
  }

  /** Whoever has gone by itself is replaced as well (a corrupted frame ends a tab's visit). */
  async replaceLost(): Promise<void> {
    for (const member of this.members) if (member.gone()) await this.replace(member);
  }

  async addLiar(maker: TabMaker): Promise<KnownLiar> {
    const liar = nthLiar(this.liars.length);
    const known = { ...liar, victim: await maker.open(liar) };
    this.liars.push(known);
    return known;
  }

  async close(): Promise<void> {
    const all = [...this.members, ...this.#former, ...this.liars.map(({ victim }) => victim)];
    await Promise.all(all.map((victim) => victim.close()));
  }
}
