import { parseArgs } from 'node:util';
import { breaches, CLUSTER_HAPPENINGS, type ClusterHappening, runClusterChaos } from './run.ts';

export const COORDINATORS_HELP = `npm run chaos -- coordinators [options]

Several coordinators in processes of their own on a Postgres server (Debian's, installed if it is missing), each on a line
to it that can be cut, behind a balancer. Under a seeded schedule the leader and others are ended by kill -9 and started
again, one or all are cut off from the database, the database crashes, and tabs come, crash, leave and lie. Exits with 1 unless every request ends with the
healthy run's text or a proper error and succeeds when asked again, another leads within 5 s of the end of a leader, no
write of an old term comes after one of a newer term, no key gets more than its limit and the stated slack, each tab has one
home in the end, liars are out, and a donor in quarantine stays out after all have been restarted.

  --seed N        of the schedule (1)
  --members N     coordinators (3)
  --streams N     concurrent answers (6)
  --tabs N        honest tabs, of which one ends and another comes every six seconds; liars come beside them (4)
  --seconds N     how long (40; 600 is the long form)
  --every S       seconds of rest between happenings, on average (1)
  --cut S         seconds that the database is away at most (4; 60 in the long form)
  --only KINDS    comma-separated, of ${CLUSTER_HAPPENINGS.join(', ')} (all)
  --json          the report as JSON on stdout
`;

/** Returns the exit status. */
export async function coordinatorsMain(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string', default: '1' },
      members: { type: 'string', default: '3' },
      streams: { type: 'string', default: '6' },
      tabs: { type: 'string', default: '4' },
      seconds: { type: 'string', default: '40' },
      every: { type: 'string', default: '1' },
      cut: { type: 'string' },
      only: { type: 'string', default: CLUSTER_HAPPENINGS.join() },
      json: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) {
    process.stdout.write(COORDINATORS_HELP);
    return 0;
  }
  const [seed, members, streams, seconds, every] = [
    values.seed,
    values.members,
    values.streams,
    values.seconds,
    values.every,
  ].map(Number) as [number, number, number, number, number];
  const cut = Number(values.cut ?? (seconds >= 300 ? 60 : 4));
  const kinds = values.only.split(',').filter((kind) => kind !== '') as ClusterHappening[];
  const unknown = kinds.find((kind) => !CLUSTER_HAPPENINGS.includes(kind));
  if (unknown !== undefined || ![seed, members, streams, seconds, every, cut].every((value) => value > 0)) {
    process.stderr.write(
      `chaos: ${unknown === undefined ? 'a number is off' : `no kind "${unknown}"`}\n\n${COORDINATORS_HELP}`,
    );
    return 2;
  }
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const options = {
    seed,
    members,
    streams,
    tabs: Number(values.tabs),
    durationMs: seconds * 1000,
    everyMs: every * 1000,
    cutMs: cut * 1000,
    kinds,
  };
  const report = await runClusterChaos({ ...options, say });
  process.stdout.write(`${JSON.stringify(report, null, values.json ? 2 : undefined)}\n`);
  const broken = breaches(report);
  for (const text of broken) say(`does not hold: ${text}`);
  if (broken.length === 0) say('all holds');
  return broken.length === 0 ? 0 : 1;
}
