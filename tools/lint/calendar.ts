import { withoutText } from './identifiers.ts';
import { type Fault, lineAt, type SourceFile } from './source-files.ts';

/**
 * Files that read the calendar, because a date is meant: what clients and people are shown, days that usage is counted by, dates of access,
 * signatures that end, and times of files. The system's clock can be set back and forth, so nothing that lasts may be measured by it.
 */
const MEAN_A_DATE: readonly string[] = [
  'apps/console/src/console/access/access-state.ts',
  'apps/console/src/console/access/words.tsx',
  'apps/console/src/console/peer-state.tsx',
  'apps/donor/src/coordinator-connection.ts',
  'apps/donor/src/main.tsx',
  'apps/donor/src/terminal/disk-limits.ts',
  'apps/donor/src/terminal/disk-shard-cache.ts',
  'apps/donor/src/views/problem-view.tsx',
  'coordinator/src/access/budgets.ts',
  'coordinator/src/access/donor-door.ts',
  'coordinator/src/access/usage-query.ts',
  'coordinator/src/adapters/served-adapter.ts',
  'coordinator/src/alerts/webhook.ts',
  'coordinator/src/attention/probes.ts',
  'coordinator/src/attention/tab-clocks.ts',
  'coordinator/src/bans/bans.ts',
  'coordinator/src/base/event-log.ts',
  'coordinator/src/cli/doctor/clock.ts',
  'coordinator/src/cli/doctor/database.ts',
  'coordinator/src/console/gateway.ts',
  'coordinator/src/contribution/account-reader.ts',
  'coordinator/src/contribution/contributions.ts',
  'coordinator/src/contribution/donor-work.ts',
  'coordinator/src/contribution/swarm-board.ts',
  'coordinator/src/database/reader.ts',
  'coordinator/src/history/sampler.ts',
  'coordinator/src/http/admin-bans.ts',
  'coordinator/src/http/generate.ts',
  'coordinator/src/http/models.ts',
  'coordinator/src/http/responses/shape.ts',
  'coordinator/src/http/signed-mirrors.ts',
  'coordinator/src/mirror/disk-cache.ts',
  'coordinator/src/open-watch.ts',
  'coordinator/src/records/quarantine-records.ts',
  'coordinator/src/records/usage.ts',
  'coordinator/src/settings/settings.ts',
  'coordinator/src/swarm/ice-servers.ts',
  'coordinator/src/swarm/sent-away.ts',
  'coordinator/src/trust/quarantine.ts',
  'packages/model/src/jinja/globals.ts',
  'packages/peer/src/allowance.ts',
  'packages/weights/src/node/hub/hub-client.ts',
  'packages/weights/src/testing/fake-hub.ts',
  'tools/turn-check.ts',
];
const IS_TEST = /\.test\.tsx?$/;
/** `new Date(ms)`, `Date.UTC` and `Date.parse` read no clock. */
const READS = /\bDate\.now\b|\bDate\(\s*\)|\bnew Date\b(?!\s*\()/g;

/** Finds code that reads the system's clock where a duration may be meant. */
export function calendarFaults(files: readonly SourceFile[]): Fault[] {
  return files.flatMap(({ path, text }) => {
    if (IS_TEST.test(path) || MEAN_A_DATE.includes(path)) return [];
    return Array.from(withoutText(text).matchAll(READS), ({ 0: name, index }) => ({
      file: path,
      line: lineAt(text, index),
      fault: `reads the system’s clock (${name})`,
      remedy: 'measure with performance.now() or a Clock; a file that means a date is listed in tools/lint/calendar.ts',
    }));
  });
}
