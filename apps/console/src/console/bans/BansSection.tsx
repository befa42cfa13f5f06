import { useSignal } from '@preact/signals';
import type { BansView, BanView } from '@shoal/protocol';
import { useEffect } from 'preact/hooks';
import { formatTime } from '../../format.ts';
import { pageOf, search } from '../../table/paging.ts';
import { TableBar } from '../../table/TableBar.tsx';
import { bansChanges, nowMs, role } from '../connection.ts';
import { bans, changeBans, fault, readBans, result } from './bans-state.ts';
import { LengthField, ReasonField } from './LengthField.tsx';
import { PublicNames } from './PublicNames.tsx';

const ROWS = 20;
/** Quarantines begin and bans end without a word. */
const READ_EVERY_S = 15;

interface Row {
  key: string;
  who: string;
  what: string;
  why: string;
  until: string | null;
  by: string;
  /** Where it is lifted. */
  path: string;
}

/** Who is kept out of the swarm: by operators, or after wrong results. */
export function BansSection() {
  const changes = bansChanges.value + Math.floor(nowMs.value / 1_000 / READ_EVERY_S);
  useEffect(() => void readBans(), [changes]);
  const view = bans.value;
  return (
    <section class="card" id="bans" aria-labelledby="bans-title" tabIndex={-1}>
      <h2 id="bans-title">Kept out</h2>
      <p class="muted">
        Donors and networks that may not join now: drained or removed by an operator, or in quarantine after wrong
        results. Each is told why and until when.
      </p>
      <div role="status" class="status-line">
        {fault.value !== null && <p class="trouble">{fault.value}</p>}
        {result.value && <p class={result.value.ok ? '' : 'trouble'}>{result.value.text}</p>}
      </div>
      {view && <Rows rows={rowsOf(view)} />}
      {role.value?.role === 'viewer' ? (
        <p class="muted">An operator can keep others out, and let these in again.</p>
      ) : (
        <>
          <NewBan />
          <PublicNames />
        </>
      )}
    </section>
  );
}

function Rows({ rows }: { rows: readonly Row[] }) {
  const view = { search: useSignal(''), page: useSignal(0) };
  if (rows.length === 0) return <p class="muted empty">Nobody is kept out.</p>;
  const found = search(rows, view.search.value, ({ who, what, why, by }) => `${who} ${what} ${why} ${by}`);
  const shown = pageOf(found, view.page.value, ROWS);
  const canLift = role.value?.role !== 'viewer';
  return (
    <>
      <TableBar view={view} noun="entries" shown={shown} found={found.length} all={rows.length} />
      <div class="table-scroll" role="group" aria-labelledby="bans-title" tabIndex={0}>
        <table class="cards" role="table">
          <thead role="rowgroup">
            <tr role="row">
              {['Who', 'How', 'Why', 'Until', 'By', ...(canLift ? ['Lift'] : [])].map((name) => (
                <th key={name} scope="col" role="columnheader">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {shown.rows.map((row) => (
              <BanRow key={row.key} row={row} canLift={canLift} />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function BanRow({ row, canLift }: { row: Row; canLift: boolean }) {
  const { who, what, why, until, by, path } = row;
  return (
    <tr role="row">
      <th scope="row" role="rowheader" class="id">
        {who}
      </th>
      <td role="cell" data-label="How">
        {what}
      </td>
      <td role="cell" data-label="Why">
        {why === '' ? <span class="muted">no reason given</span> : why}
      </td>
      <td role="cell" data-label="Until">
        {until === null ? 'it is lifted' : formatTime(until)}
      </td>
      <td role="cell" data-label="By">
        {by}
      </td>
      {canLift && (
        <td role="cell">
          <button
            type="button"
            aria-label={`Lift: ${who}`}
            onClick={() => void changeBans('DELETE', path, `${who} may join again.`)}
          >
            Lift
          </button>
        </td>
      )}
    </tr>
  );
}

function rowsOf({ bans: all, quarantines }: BansView): Row[] {
  return [
    ...all.map((ban) => ({
      key: `ban ${ban.id}`,
      who: whoOf(ban),
      what: ban.kind === 'drain' ? 'drained' : 'banned',
      why: ban.reason,
      until: ban.until,
      by: ban.by,
      path: `bans/${ban.id}`,
    })),
    ...quarantines.map(({ key, until }) => ({
      key,
      who: key,
      what: 'in quarantine',
      why: 'Wrong results',
      until,
      by: 'the audits',
      path: `quarantines/${encodeURIComponent(key)}`,
    })),
  ];
}

const whoOf = ({ subject, label }: BanView): string => (label === '' ? subject : `${label} (${subject})`);

/** Keeps a network out, or a donor that has left; tabs that are there have buttons of their own. */
function NewBan() {
  const subject = useSignal('');
  const reason = useSignal('');
  const minutes = useSignal<number | null>(60);
  const send = async (): Promise<void> => {
    const who = subject.value.trim();
    const whom = /^[0-9a-f]{16}$/.test(who) ? { donor: who } : { network: who };
    const body = { ...whom, minutes: minutes.value, reason: reason.value };
    if (await changeBans('POST', 'bans', `${who} is kept out.`, body)) subject.value = '';
  };
  return (
    <form
      class="entry-form new-ban"
      aria-label="Keep somebody out"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <div>
        <label for="ban-subject">Donor or network</label>
        <input
          id="ban-subject"
          required
          maxLength={64}
          autocomplete="off"
          placeholder="10.1.2.3 or 10.1.0.0/16"
          value={subject.value}
          onInput={({ currentTarget: { value } }) => (subject.value = value)}
        />
      </div>
      <LengthField label="For" minutes={minutes} />
      <ReasonField reason={reason} />
      <p class="actions">
        <button type="submit">Keep out</button>
      </p>
    </form>
  );
}
