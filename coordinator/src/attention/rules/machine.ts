import { counted, DAY_MS, type Facts, MINUTE_MS, type Rule, SECOND_MS } from '../facts.ts';

/** A database server restarts within half a minute, and nothing is lost meanwhile. */
const RESTARTS_MS = 30 * SECOND_MS;
/** What `shoal doctor` asks for beside what is known to be written; below it a log or a temporary file may fill the rest. */
const NO_ROOM_BYTES = 256 * 2 ** 20;
const LITTLE_ROOM_BYTES = 2 ** 30;
/** Free space goes up and down by what programs write and delete. */
const ROOM_AGAIN = 1.25;
/**
 * Certificates of 90 days are renewed at 30 days (Let's Encrypt's advice, which Caddy and Certbot follow), so at 14 something
 * failed more than twice a week. Those of six days are renewed half-way.
 */
const CERTIFICATE_DAYS = { warning: 14, urgent: 3 };
const CERTIFICATE_SHARE = { warning: 0.2, urgent: 0.05 };
/** As `shoal doctor`: above 2 s times in records are wrong; about a minute breaks logins and certificates. */
const CLOCK_OFF_MS = 2 * SECOND_MS;
const CLOCK_BAD_MS = MINUTE_MS;
const MEMBER_IS_NEWS_MS = 30 * MINUTE_MS;

const damaged: Rule = {
  name: 'damaged-weights',
  about: 'coordinator',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  check({ machine: { damagedFiles } }) {
    if (damagedFiles === 0) return undefined;
    return {
      severity: 'urgent',
      text: `${counted(damagedFiles, 'file')} of the packed model ${damagedFiles === 1 ? 'is' : 'are'} damaged and could not be packed again, so this coordinator is not ready`,
      remedy: 'The events name the files. Check the disk, then pack the model again from its checkpoint.',
      href: '#events',
    };
  },
};

const databaseAway: Rule = {
  name: 'database-away',
  about: 'coordinator',
  raiseAfterMs: 0,
  clearAfterMs: 10 * SECOND_MS,
  check({ machine: { database } }) {
    if (!database || database.awayForMs < RESTARTS_MS) return undefined;
    const minutes = Math.floor(database.awayForMs / MINUTE_MS);
    const since = minutes === 0 ? '' : ` for ${counted(minutes, 'minute')}`;
    const lost = database.lostRows > 0 ? `, ${counted(database.lostRows, 'row was', 'rows were')} lost` : '';
    return {
      severity: 'urgent',
      text: `The database does not answer${since}: ${counted(database.waitingRows, 'row waits', 'rows wait')} to be written${lost}`,
      remedy:
        'Answers go on, and what waits is written when it is back. See whether the server runs and can be reached.',
      href: '#events',
    };
  },
};

const disk: Rule = {
  name: 'disk-space',
  about: 'coordinator',
  raiseAfterMs: 0,
  clearAfterMs: MINUTE_MS,
  check({ machine: { disks } }, isRaised) {
    const least = disks.toSorted((a, b) => a.freeBytes - b.freeBytes)[0];
    if (!least || least.freeBytes >= LITTLE_ROOM_BYTES * (isRaised ? ROOM_AGAIN : 1)) return undefined;
    return {
      severity: least.freeBytes < NO_ROOM_BYTES ? 'urgent' : 'warning',
      text: `Only ${Math.round(least.freeBytes / 2 ** 20).toLocaleString('en-GB')} MiB are free where ${least.what} is kept (${least.dir})`,
      remedy:
        'Free some space there. Packed models that are no longer served can be deleted (docs/OPERATIONS.md, The cache).',
      href: '#events',
    };
  },
};

const certificate: Rule = {
  name: 'certificate',
  about: 'coordinator',
  // One failed look may be the network's.
  raiseAfterMs: 0,
  clearAfterMs: 0,
  check({ machine: { certificate: found } }) {
    if (!found) return undefined;
    const remedy =
      'Browsers let nobody lend or open the console without it. See why it is not renewed (with Caddy, its log says).';
    if ('fault' in found)
      return {
        severity: 'urgent',
        text: `The certificate of ${found.host} is not valid: ${found.fault}`,
        remedy,
        href: '#events',
      };
    const limitMs = (kind: 'warning' | 'urgent'): number =>
      Math.min(CERTIFICATE_DAYS[kind] * DAY_MS, found.lifeMs * CERTIFICATE_SHARE[kind]);
    if (found.leftMs > limitMs('warning')) return undefined;
    const days = Math.floor(found.leftMs / DAY_MS);
    const when = found.leftMs <= 0 ? 'has ended' : days === 0 ? 'ends within a day' : `ends in ${counted(days, 'day')}`;
    return {
      severity: found.leftMs <= limitMs('urgent') ? 'urgent' : 'warning',
      text: `The certificate of ${found.host} ${when}`,
      remedy,
      href: '#events',
    };
  },
};

const clock: Rule = {
  name: 'clock',
  about: 'coordinator',
  raiseAfterMs: MINUTE_MS,
  clearAfterMs: MINUTE_MS,
  check({ machine: { clock: off } }: Facts, isRaised) {
    const { databaseMs, tabsMs } = off;
    const limit = isRaised ? 0.5 : 1;
    const remedy = 'Let the system keep its clock (systemd-timesyncd, chrony, or the settings of the virtual machine).';
    const say = (offMs: number, whose: string) => {
      const size = Math.abs(offMs);
      const text = `This machine’s clock is ${(size / 1000).toFixed(1)} s ${offMs < 0 ? 'behind' : 'ahead of'} ${whose}`;
      return { severity: size >= CLOCK_BAD_MS ? 'urgent' : 'warning', text, remedy, href: '#events' } as const;
    };
    if (databaseMs !== null && Math.abs(databaseMs) >= CLOCK_OFF_MS * limit) return say(databaseMs, 'the database’s');
    // People's computers are often seconds off, and most of them agreeing on a minute is no accident.
    if (tabsMs !== null && Math.abs(tabsMs) >= CLOCK_BAD_MS * limit) return say(tabsMs, 'those of most tabs');
    return undefined;
  },
};

const memberGone: Rule = {
  name: 'coordinator-gone',
  about: 'swarm',
  // A rolling update takes members away one by one.
  raiseAfterMs: MINUTE_MS,
  clearAfterMs: 0,
  check({ machine: { membersGone }, nowMs }) {
    const recent = membersGone.filter(({ atMs }) => nowMs - atMs < MEMBER_IS_NEWS_MS);
    const last = recent.at(-1);
    if (!last) return undefined;
    const others = recent.length > 1 ? ` and ${counted(recent.length - 1, 'other')}` : '';
    return {
      severity: 'warning',
      text: `The coordinator ${last.name}${others} ended and ${recent.length > 1 ? 'have' : 'has'} not come back`,
      remedy: 'The others go on with its tabs. If it was not stopped on purpose, see its log.',
      href: '#coordinators',
    };
  },
};

export const MACHINE_RULES: readonly Rule[] = [damaged, databaseAway, disk, certificate, clock, memberGone];
