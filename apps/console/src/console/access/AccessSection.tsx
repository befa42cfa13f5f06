import { useSignal } from '@preact/signals';
import type { AccessKind, AccessView, EntryViews, NewEntry } from '@shoal/protocol';
import type { ComponentChildren } from 'preact';
import { useEffect, useId } from 'preact/hooks';
import { download } from '../../environment.ts';
import { formatDay, formatNumber, formatTime, plural } from '../../format.ts';
import { accessChanges, role } from '../connection.ts';
import { access, commanded, fault, figures, made, make, readAccess, readFigures, result } from './access-state.ts';
import { askAdminText } from './admin-api.ts';
import { EntryForm } from './EntryForm.tsx';
import { EntryTable } from './EntryTable.tsx';
import { keyLimits } from './fields.ts';
import { KeyUsage, UsageBar } from './KeyUsage.tsx';
import { NewToken } from './NewToken.tsx';
import { tokensOf } from './usage.ts';
import { ADMIN_COLUMNS, type Column, firstWarning, INVITE_COLUMNS, rulesText } from './words.tsx';

/** Usage is written about once a second; a minute is often enough to look at. */
const FIGURES_EVERY_MS = 60_000;

/** Who may do what, and what they have used: for admins to see, and for operators to change. */
export function AccessSection() {
  const changes = accessChanges.value;
  useEffect(() => void readAccess(), [changes]);
  useEffect(() => {
    void readFigures();
    const timer = setInterval(() => void readFigures(), FIGURES_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const view = access.value;
  return (
    <section class="card" id="access" aria-labelledby="access-title" tabIndex={-1}>
      <h2 id="access-title">Access</h2>
      {view && <State view={view} />}
      <div role="status" class="status-line">
        {fault.value !== null && <p class="trouble">{fault.value}</p>}
        {result.value && <p class={result.value.ok ? '' : 'trouble'}>{result.value.text}</p>}
      </div>
      {made.value && <NewToken {...made.value} />}
      {view ? <Lists view={view} /> : fault.value === null && <p class="muted">Reading who may do what…</p>}
    </section>
  );
}

function State({ view }: { view: AccessView }) {
  const { source, file, away } = view;
  return (
    <>
      <p class="muted">{rulesText(view)}</p>
      {source === 'file' && (
        <p class="muted">
          The rules are those of <code>{file}</code> (<code>--access</code>), and are changed there. To change them
          here, copy them once by <code>npx shoal access import {file}</code> and start without <code>--access</code>.
        </p>
      )}
      {source === 'none' && (
        <p class="muted">
          This coordinator keeps nothing (<code>--database none</code>), so it has no keys, invitations or admins but
          the operator it was started with.
        </p>
      )}
      {away !== null && (
        <p class="trouble" role="alert">
          The database has been away since {formatTime(away)}. The rules hold as they were; nothing can be changed, and
          usage is written when it is back.
        </p>
      )}
    </>
  );
}

function Lists({ view }: { view: AccessView }) {
  const canChange = role.value?.role !== 'viewer' && view.source === 'database' && view.away === null;
  const inForce = <Kind extends AccessKind>(entries: readonly EntryViews[Kind][]): EntryViews[Kind][] =>
    entries.filter(({ revoked }) => revoked === null);
  const keys = inForce<'keys'>(view.keys);
  const shared = { view, canChange };
  return (
    <>
      <Part kind="keys" title="API keys" noun="API key" {...shared} all={view.keys} aside={<ExportUsage />}>
        {(titleId) => (
          <EntryTable<'keys'>
            kind="keys"
            titleId={titleId}
            entries={keys}
            columns={keyColumns(keys)}
            {...shared}
            {...(view.source !== 'none' && { more: ({ name }) => <KeyUsage name={name} /> })}
          />
        )}
      </Part>
      <Part kind="invites" title="Invitations" noun="invitation" {...shared} all={view.invites}>
        {(titleId) => (
          <EntryTable<'invites'>
            kind="invites"
            titleId={titleId}
            entries={inForce<'invites'>(view.invites)}
            columns={INVITE_COLUMNS}
            {...shared}
          />
        )}
      </Part>
      <Part kind="admins" title="Admins" noun="admin" {...shared} all={view.admins}>
        {(titleId) => (
          <EntryTable<'admins'>
            kind="admins"
            titleId={titleId}
            entries={inForce<'admins'>(view.admins)}
            columns={ADMIN_COLUMNS}
            {...shared}
          />
        )}
      </Part>
      {role.value?.role === 'viewer' && <p class="muted">An operator can make, limit and revoke these.</p>}
    </>
  );
}

interface PartProps {
  kind: AccessKind;
  title: string;
  noun: string;
  view: AccessView;
  canChange: boolean;
  all: readonly { name: string; created: string | null; revoked: string | null }[];
  aside?: ComponentChildren;
  /** The table of those in force. */
  children: (titleId: string) => ComponentChildren;
}

function Part({ kind, title, noun, view, canChange, all, aside, children }: PartProps) {
  const titleId = useId();
  const adding = useSignal(false);
  const revoked = all.filter((entry) => entry.revoked !== null);
  const warning = firstWarning(kind, view);
  return (
    <div class="part">
      <div class="part-head">
        <h3 id={titleId}>{title}</h3>
        {canChange && (
          <button type="button" aria-expanded={adding.value} onClick={() => (adding.value = !adding.value)}>
            New {noun}
          </button>
        )}
        {aside}
      </div>
      {adding.value && canChange && (
        <div class="adding">
          {warning !== undefined && <p class="tone-waiting">{warning}</p>}
          <EntryForm
            kind={kind}
            action={`Make the ${noun}`}
            onSend={async (entry) => {
              const isMade = await make(kind, entry as NewEntry<AccessKind>);
              if (isMade) adding.value = false;
              return isMade;
            }}
          />
        </div>
      )}
      {revoked.length === all.length ? <p class="muted empty">{none(kind, noun, view)}</p> : children(titleId)}
      {revoked.length > 0 && (
        <details>
          <summary>{plural(revoked.length, `revoked ${noun}`)}</summary>
          <ul class="revoked">
            {revoked.map(({ name, revoked: at }) => (
              <li key={name}>
                <span class="id">{name}</span> <span class="muted">{formatDay(at!)}</span>
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

function none(kind: AccessKind, noun: string, { rules }: AccessView): string {
  if (kind === 'keys' && rules.api === 'keys') return 'There is no API key, so every request is refused.';
  if (kind === 'invites' && rules.swarm === 'invited') return 'There is no invitation, so no tab can join.';
  if (kind === 'admins') return 'There is none beside the operator that the coordinator was started with.';
  return `There is no ${noun}, and none is needed.`;
}

function keyColumns(keys: readonly EntryViews['keys'][]): readonly Column<'keys'>[] {
  const now = figures.value;
  const limits: Column<'keys'> = { name: 'Limits', cell: keyLimits };
  if (!now) return [limits];
  const most = Math.max(...keys.map(({ name }) => tokensOf(now.month.get(name))));
  return [
    limits,
    {
      name: 'Today',
      isNumeric: true,
      cell: ({ name }) => <Used requests={now.today.get(name)?.requests} tokens={tokensOf(now.today.get(name))} />,
    },
    {
      name: '30 days',
      isNumeric: true,
      cell: ({ name }) => {
        const row = now.month.get(name);
        return (
          <>
            <Used requests={row?.requests} tokens={tokensOf(row)} />
            {row !== undefined && row.refusals > 0 && (
              <span class="tone-waiting note">{plural(row.refusals, 'request')} over its limits</span>
            )}
            <UsageBar row={row} most={most} />
          </>
        );
      },
    },
  ];
}

function Used({ requests = 0, tokens }: { requests?: number | undefined; tokens: number }) {
  return (
    <>
      {formatNumber(tokens)} <span class="of">tokens in {plural(requests, 'request')}</span>
    </>
  );
}

function ExportUsage() {
  const save = (): Promise<boolean> =>
    commanded(async () => {
      download('shoal-usage.csv', 'text/csv', await askAdminText('usage?format=csv'));
      return 'The usage of the last 30 days was exported.';
    });
  if (!figures.value) return null;
  return (
    <button type="button" onClick={() => void save()}>
      Export usage
    </button>
  );
}
