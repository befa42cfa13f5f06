import type { WireFaults } from '@shoal/transport';
import type { Core } from '../../coordinator/src/index.ts';
import type { PeerSession } from '../../coordinator/src/swarm/peer-session.ts';
import type { DonorTab } from '../../tools/browser/donor-tabs.ts';
import { VirtualDonor, type VirtualDonorOptions } from '../integration/virtual-donor.ts';
import { type Adversary, ADVERSARIES, adverseSend, HOLD_UP_LAPS, neverLoads } from './adversaries.ts';
import { type Liar, lyingBackend, tamperedFrame } from './liars.ts';
import { ProcessTab } from '../tabs/process-tab.ts';
import type { Blow } from './schedule.ts';

/** A tab that something can happen to. */
export interface Victim {
  name(): string;
  /** Its session in the current coordinator; undefined before it has joined, and for a real tab. */
  session(): PeerSession | undefined;
  /** Whether it is gone for good, so that another may take its place. */
  gone(): boolean;
  /** Shards that it has downloaded; undefined for a real tab. */
  downloads(): number | undefined;
  /** Resolves to what was done: a real tab cannot have wire faults and crashes instead. */
  befall(blow: Blow): Promise<Blow>;
  close(): Promise<void>;
}

/** What a tab does besides what an honest one does. */
export interface Mischief {
  liar?: Liar;
  adversary?: Adversary;
}

/** Opens tabs of one kind. */
export interface TabMaker {
  open(mischief?: Mischief): Promise<Victim>;
  /** Kinds of adversaries that it can open. */
  readonly adversaries: readonly Adversary[];
  close(): Promise<void>;
}

/** How long a spell of a bad wire lasts. */
export const SPELL_MS = 1_500;
/** Room for all experts of the default model, so that placement decides. */
const PLEDGE_BYTES = 64 * 2 ** 20;

const SPELLS: Partial<Record<Blow, Partial<WireFaults>>> = {
  lag: { delayMs: 60, jitterMs: 40 },
  loss: { loss: 0.05 },
  disorder: { reordering: 0.2, duplication: 0.1, jitterMs: 5 },
  corruption: { corruption: 0.02 },
};

/** Over the memory transport, on the coordinator's own thread. */
export function virtualTabs(core: () => Core): TabMaker {
  return {
    open: async (mischief) =>
      virtualVictim(await VirtualDonor.join(core(), optionsFor(core(), mischief)), mischief?.adversary),
    adversaries: [...HOLD_UP_LAPS, 'never loads'],
    close: async () => {},
  };
}

function optionsFor(core: Core, { liar, adversary }: Mischief = {}): VirtualDonorOptions {
  if (liar) return lyingOptions(core, liar);
  if (adversary === undefined) return {};
  const donorToken = crypto.randomUUID().replaceAll('-', '');
  const isServing = (): boolean =>
    core.swarm.peers.some((peer) => peer.hello.donorToken === donorToken && peer.serving);
  return {
    donorToken,
    wrapSend: (send) => adverseSend(adversary, send, isServing),
    ...(adversary === 'never loads' && { wrapBackend: neverLoads }),
  };
}

function lyingOptions(core: Core, { lie, begins }: Liar) {
  const donorToken = crypto.randomUUID().replaceAll('-', '');
  const isLying = (): boolean =>
    begins === 'from the start' ||
    core.swarm.peers.some((peer) => peer.hello.donorToken === donorToken && peer.serving);
  return {
    donorToken,
    wrapBackend: (honest: Parameters<typeof lyingBackend>[0]) => lyingBackend(honest, lie, Math.random, isLying),
    tamper: (frame: Uint8Array) => (isLying() ? tamperedFrame(frame, lie) : frame),
  };
}

function virtualVictim(donor: VirtualDonor, adversary?: Adversary): Victim {
  const both = [donor.wire.aToB, donor.wire.bToA];
  const spell = (faults: Partial<WireFaults>): void => {
    const usual = both.map((wire) => ({ ...wire }));
    for (const wire of both) Object.assign(wire, faults);
    setTimeout(() => both.forEach((wire, i) => Object.assign(wire, usual[i])), SPELL_MS).unref();
  };
  return {
    name: () => donor.session.peerId,
    session: () => donor.session,
    gone: () => donor.session.state === 'gone',
    downloads: () => donor.downloads,
    async befall(blow) {
      if (blow === 'crash') donor.kill('abrupt');
      else if (blow === 'freeze') donor.kill('black-hole');
      else if (blow === 'leave') await donor.close();
      else spell(SPELLS[blow]!);
      return blow;
    },
    // A tab that never loads would never finish closing either.
    close: async () => (adversary === 'never loads' ? donor.kill() : donor.close()),
  };
}

/** Processes started ahead of use, since a real donor doesn't compile on the coordinator's CPU. */
const SPARES = 2;

/** One process per tab, over socket.io, WebRTC and HTTP. A run that loses none needs no spares. */
export function processTabs(core: () => Core, url: () => string, numSpares = SPARES): TabMaker {
  const spares: Promise<ProcessTab>[] = [];
  let seed = 1;
  const refill = (): void => {
    while (spares.length < numSpares) {
      const spare = ProcessTab.open();
      spare.catch(() => {});
      spares.push(spare);
    }
  };
  return {
    adversaries: ADVERSARIES,
    async open({ liar, adversary } = {}) {
      const tab = await (spares.shift() ?? ProcessTab.open());
      refill();
      tab.lend({
        url: url(),
        pledgeBytes: PLEDGE_BYTES,
        seed: seed++,
        ...(liar && { liar }),
        ...(adversary && { adversary }),
      });
      return processVictim(tab, core);
    },
    close: async () => {
      await Promise.all(spares.map(async (spare) => (await spare).close()));
    },
  };
}

function processVictim(tab: ProcessTab, core: () => Core): Victim {
  let last: PeerSession | undefined;
  let ending = false;
  const session = (): PeerSession | undefined =>
    (last = core().swarm.peers.find((peer) => peer.donorId === tab.donorId) ?? last);
  return {
    name: () => session()?.peerId ?? `a tab that is ${tab.phase}`,
    session,
    gone: () => (ending && (session()?.state ?? 'gone') === 'gone') || tab.phase === 'failed',
    downloads: () => tab.downloads,
    async befall(blow) {
      ending = blow === 'crash' || blow === 'freeze' || blow === 'leave';
      if (blow === 'crash') tab.crash();
      else if (blow === 'freeze') tab.freeze();
      else if (blow === 'leave') tab.leave();
      else {
        tab.setFaults(SPELLS[blow]!);
        setTimeout(() => tab.setFaults({}), SPELL_MS).unref();
      }
      return blow;
    },
    close: () => tab.close(),
  };
}

/** Real tabs in a headless Chromium; they crash and leave. */
export function realTabs(openTab: () => Promise<DonorTab>): TabMaker {
  return { open: async () => realVictim(await openTab()), adversaries: [], close: async () => {} };
}

function realVictim({ page, context }: DonorTab): Victim {
  let gone = false;
  return {
    name: () => 'a real tab',
    session: () => undefined,
    gone: () => gone,
    downloads: () => undefined,
    async befall(blow) {
      gone = true;
      if (blow === 'leave') {
        await context.close();
        return 'leave';
      }
      const crashed = page.waitForEvent('crash');
      page.goto('chrome://crash').catch(() => {});
      await crashed;
      return 'crash';
    },
    close: () => context.close(),
  };
}
