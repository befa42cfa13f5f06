import { type Adversary, nthAdversary } from './adversaries.ts';
import { type Liar, nthLiar } from './liars.ts';
import type { TabMaker, Victim } from './victims.ts';

/** A dishonest tab of the run. */
export interface KnownLiar extends Liar {
  victim: Victim;
}

/** A tab that does harm without a wrong result. */
export interface KnownAdversary {
  kind: Adversary;
  victim: Victim;
}

/** Keeps the number of tabs constant, and adds the liars and adversaries. */
export class Crowd {
  readonly liars: KnownLiar[] = [];
  readonly adversaries: KnownAdversary[] = [];
  readonly #former: Victim[] = [];
  readonly #members = new Map<Victim, TabMaker>();

  /** One of the tabs that are still there, chosen by `share` from 0 to 1. */
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

  /** Replaces a tab that has ended or frozen; a frozen process is left alone until the end. */
  async replace(victim: Victim): Promise<void> {
    const maker = this.#members.get(victim)!;
    this.#members.delete(victim);
    this.#former.push(victim);
    this.#members.set(await maker.open(), maker);
  }

  /** Replaces tabs that left by themselves (a corrupted frame ends a tab's visit). */
  async replaceLost(): Promise<void> {
    for (const member of this.members) if (member.gone()) await this.replace(member);
  }

  async addLiar(maker: TabMaker): Promise<KnownLiar> {
    const liar = nthLiar(this.liars.length);
    const known = { ...liar, victim: await maker.open({ liar }) };
    this.liars.push(known);
    return known;
  }

  async addAdversary(maker: TabMaker): Promise<KnownAdversary> {
    const kind = nthAdversary(this.adversaries.length, maker.adversaries);
    const known = { kind, victim: await maker.open({ adversary: kind }) };
    this.adversaries.push(known);
    return known;
  }

  async close(): Promise<void> {
    const all = [...this.members, ...this.#former, ...[...this.liars, ...this.adversaries].map(({ victim }) => victim)];
    await Promise.all(all.map((victim) => victim.close()));
  }
}
