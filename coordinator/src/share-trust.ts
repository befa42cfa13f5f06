import { MAX_RIGHT_DONORS } from './cluster/bus-messages.ts';
import { ALL, type Cluster } from './cluster/cluster.ts';
import { quarantinedText } from './swarm/messages.ts';
import type { Swarm } from './swarm/swarm.ts';
import type { KeptEntry } from './trust/quarantine.ts';
import type { Trust } from './trust/trust.ts';

/** Right rows are told together so often. */
const TELL_MS = 1_000;
/** Donors of which a new member is told; the newest. */
const MAX_TOLD_DONORS = 5_000;

export interface SharedTrustOptions {
  cluster: Pick<Cluster, 'bus' | 'members' | 'lease'>;
  trust: Trust;
  swarm: Pick<Swarm, 'peers' | 'expelDonor'> & Partial<Pick<Swarm, 'guests'>>;
  /** Reads the quarantines that are kept. */
  quarantines: () => Promise<readonly KeptEntry[]>;
}

/**
 * Shuts a donor that lies to one coordinator out of all: failures go to the others at once, and so do right rows once a second, by
 * which a donor's audited share falls at all of them. Returns the call that stops.
 */
export function shareTrust({ cluster, trust, swarm, quarantines }: SharedTrustOptions): () => void {
  const { bus, members, lease } = cluster;
  const tellRight = (to: string, isAll: boolean, rows: ReturnType<Trust['takeRight']>): void => {
    for (let i = 0; i < rows.length; i += MAX_RIGHT_DONORS)
      bus.send(to, 'right', { isAll, rows: rows.slice(i, i + MAX_RIGHT_DONORS).map((row) => [...row]) });
  };
  const expel = (donorIds: readonly string[]): void => {
    for (const donorId of donorIds) {
      // Of the donor alone: others of the same address have done nothing.
      const untilMs = trust.quarantine.until({ donorId, address: '127.0.0.1' });
      if (untilMs === undefined) continue;
      swarm.expelDonor(donorId, { code: 'wrong-results', message: quarantinedText(untilMs), retry: false });
    }
  };
  const readAgain = async (): Promise<void> => {
    try {
      trust.quarantine.merge(await quarantines());
      const tabs = [...swarm.peers, ...(swarm.guests?.links.peers() ?? [])];
      expel([...new Set(tabs.map(({ donorId }) => donorId))]);
    } catch {
      // It is read again when the database is back.
    }
  };
  const onExcluded = (suspect: { donorId: string; address: string }): void => {
    bus.send(ALL, 'quarantine', { donorId: suspect.donorId, entries: trust.quarantine.entriesOf(suspect) });
  };
  const onMissed = (): void => void readAgain();
  // One tells the newcomer, since all know the same.
  const onJoined = ({ id }: { id: string }): void => {
    if (lease.held) tellRight(id, true, trust.allRight(MAX_TOLD_DONORS));
  };
  trust.events.on('excluded', onExcluded);
  bus.events.on('missed', onMissed);
  members.events.on('joined', onJoined).on('mended', onMissed);
  const stops = [
    bus.on('quarantine', (_, { donorId, entries }) => {
      trust.hearExcluded([donorId], entries);
      expel([donorId]);
    }),
    bus.on('right', (_, { isAll, rows }) => trust.hearRight(rows, isAll)),
  ];
  const timer = setInterval(() => {
    const news = trust.takeRight(MAX_TOLD_DONORS);
    if (members.alive().length > 1) tellRight(ALL, false, news);
  }, TELL_MS).unref();
  return () => {
    clearInterval(timer);
    trust.events.off('excluded', onExcluded);
    bus.events.off('missed', onMissed);
    members.events.off('joined', onJoined).off('mended', onMissed);
    for (const stop of stops) stop();
  };
}
