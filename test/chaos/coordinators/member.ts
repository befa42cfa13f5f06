/* One coordinator of the chaos of several, in a process of its own that is ended by SIGKILL. */
import { sql } from 'kysely';
import { steadyUnixMs } from '../../../coordinator/src/base/clock.ts';
import { writeAsLeader } from '../../../coordinator/src/cluster/database-lease.ts';
import { startCoordinator } from '../../../coordinator/src/index.ts';
import { tinyConfig } from '../../integration/tiny-coordinator.ts';
import type { FromMember, MemberState, ToMember } from './member-process.ts';

const WRITE_MS = 150;

const [databaseUrl, accessFile, port] = process.argv.slice(2) as [string, string, string];
const tell = (message: FromMember): void => void process.send?.(message);

const common = { logLevel: 'silent', drainTimeoutMs: 1_000, maxBatch: 16 } as const;
const config = tinyConfig({ ...common, port: Number(port), accessFile, database: databaseUrl });
const coordinator = await startCoordinator(config);
const { database } = coordinator.records!;
const { members, lease, bus } = coordinator.joined.shared!.cluster;

lease.events.on('gained', (term) => tell({ type: 'gained', term, atMs: steadyUnixMs() }));
lease.events.on('lost', () => tell({ type: 'lost', atMs: steadyUnixMs() }));
members.events.on('cut', () => tell({ type: 'cut' }));
members.events.on('mended', () => tell({ type: 'mended' }));

/** Writes as a leader would, also with a term that is over: that must be refused. */
let lastTerm = lease.held?.term;
setInterval(() => {
  lastTerm = lease.held?.term ?? lastTerm;
  if (lastTerm === undefined || database.isAway) return;
  const term = { key: coordinator.joined.cluster.key, name: 'placement', holder: bus.self, term: lastTerm };
  writeAsLeader(database.db, term, (transaction) =>
    sql`insert into chaos_writes (term, holder) values (${term.term}, ${term.holder})`.execute(transaction),
  ).then(
    () => tell({ type: 'wrote', isStale: false }),
    (error: Error) => error.name === 'StaleTermError' && tell({ type: 'wrote', isStale: true }),
  );
}, WRITE_MS);

process.on('message', (message: ToMember) => {
  if (message.type === 'exclude') coordinator.trust.exclude({ donorId: message.donorId, address: '127.0.0.1' });
  if (message.type === 'state') tell({ type: 'state', state: stateNow() });
});
process.once('disconnect', () => process.exit());

function stateNow(): MemberState {
  return {
    id: bus.self,
    term: lease.held?.term,
    members: members.alive().length,
    isCut: members.isCut,
    donors: coordinator.swarm.peers.map(({ donorId }) => donorId),
    serving: [...coordinator.swarm.serving()].length,
    tabWork: coordinator.dispatcher.figures.tabAssignments,
    localWork: coordinator.dispatcher.figures.fallbackAssignments,
    quarantined: coordinator.trust.quarantine.kept().flatMap(({ key, until }) => (until === null ? [] : [key])),
  };
}

tell({ type: 'open', url: coordinator.url, id: bus.self });
