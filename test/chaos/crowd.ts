import type { Core } from '../../coordinator/src/index.ts';
import type { DonorTab } from '../../tools/browser/donor-tabs.ts';
import { VirtualDonor } from '../integration/virtual-donor.ts';
import type { Happening } from './schedule.ts';

/** Somebody whom something can happen to. */
export interface Victim {
  name(): string;
  /** Whether it is gone for good, so that another may take its place. */
  gone(): boolean;
  /** Resolves to what did happen to it: a wire's faults cannot be had for a real tab, which crashes instead. */
  befall(happening: Happening): Promise<Happening>;
  close(): Promise<void>;
  /** One more of its kind. */
  another(): Promise<Victim>;
}

/** How long a lagging or lossy spell lasts. */
const SPELL_MS = 1_500;

/** Virtual tabs and real ones, kept at their number. */
export class Crowd {
  readonly #core: Core;
  readonly #openTab: (() => Promise<DonorTab>) | undefined;
  readonly #members = new Set<Victim>();

  constructor(core: Core, openTab?: () => Promise<DonorTab>) {
    this.#core = core;
    this.#openTab = openTab;
  }

  async gather(virtual: number, real: number): Promise<void> {
    for (let i = 0; i < virtual; i++) this.#members.add(await virtualVictim(this.#core));
    for (let i = 0; i < real; i++) this.#members.add(await tabVictim(this.#openTab!));
  }

  /** `share` from 0 to 1 names one of those who are there. */
  pick(share: number): Victim {
    return [...this.#members][Math.floor(share * this.#members.size)]!;
  }

  /** Whoever has gone, now or since the last look, is replaced; `except` is not yet known to be gone. */
  async replaceLost(except?: Victim): Promise<void> {
    for (const member of this.#members) {
      if (!member.gone() || member === except) continue;
      this.#members.delete(member);
      this.#members.add(await member.another());
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#members].map((member) => member.close()));
  }
}

async function virtualVictim(core: Core): Promise<Victim> {
  const donor = await VirtualDonor.join(core);
  return {
    name: () => donor.session.peerId,
    gone: () => donor.session.state === 'gone',
    async befall(happening) {
      await befallVirtual(donor, happening);
      return happening;
    },
    close: () => donor.close(),
    another: () => virtualVictim(core),
  };
}

async function befallVirtual(donor: VirtualDonor, happening: Happening): Promise<void> {
  const both = [donor.wire.aToB, donor.wire.bToA];
  const spell = (faults: Partial<(typeof both)[number]>): void => {
    const usual = both.map((wire) => ({ ...wire }));
    for (const wire of both) Object.assign(wire, faults);
    setTimeout(() => both.forEach((wire, i) => Object.assign(wire, usual[i])), SPELL_MS).unref();
  };
  switch (happening) {
    case 'crash':
      return donor.kill('abrupt');
    case 'freeze':
      return donor.kill('black-hole');
    case 'leave':
      return donor.close();
    case 'lag':
      return spell({ delayMs: 60, jitterMs: 40 });
    case 'loss':
      return spell({ loss: 0.05 });
    case 'disorder':
      return spell({ reordering: 0.2, duplication: 0.1, jitterMs: 5 });
    case 'corruption':
      return spell({ corruption: 0.02 });
    default:
      happening satisfies never;
  }
}

async function tabVictim(openTab: () => Promise<DonorTab>): Promise<Victim> {
  const { page, context } = await openTab();
  let gone = false;
  return {
    name: () => 'a real tab',
    gone: () => gone,
    async befall(happening) {
      gone = true;
      if (happening === 'leave') {
        await context.close();
        return 'leave';
      }
      const crashed = page.waitForEvent('crash');
      page.goto('chrome://crash').catch(() => {});
      await crashed;
      return 'crash';
    },
    close: () => context.close(),
    another: () => tabVictim(openTab),
  };
}
