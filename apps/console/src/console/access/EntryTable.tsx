import { useSignal } from '@preact/signals';
import type { AccessKind, AccessView, EntryChange, EntryViews } from '@shoal/protocol';
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import { ConfirmDialog } from '../../ConfirmDialog.tsx';
import { formatDay } from '../../format.ts';
import { pageOf, search } from '../../table/paging.ts';
import { TableBar } from '../../table/TableBar.tsx';
import { change, revoke } from './access-state.ts';
import { EntryForm } from './EntryForm.tsx';
import { type Column, REVOKING } from './words.tsx';

/** Of a page. */
const ROWS = 20;
const NOUNS: Readonly<Record<AccessKind, string>> = { keys: 'API keys', invites: 'invitations', admins: 'admins' };

interface TableProps<Kind extends AccessKind> {
  kind: Kind;
  titleId: string;
  entries: readonly EntryViews[Kind][];
  columns: readonly Column<Kind>[];
  /** Whether the one who is signed in may change anything here. */
  canChange: boolean;
  view: AccessView;
  /** More about an entry, shown when its row is opened. */
  more?: (entry: EntryViews[Kind]) => ComponentChildren;
}

/** The entries of a kind in force; each row opens a panel with its form. */
export function EntryTable<Kind extends AccessKind>(props: TableProps<Kind>) {
  const { kind, titleId, entries, columns, canChange, more } = props;
  const opens = canChange || more !== undefined;
  const view = { search: useSignal(''), page: useSignal(0) };
  const found = search(entries, view.search.value, ({ name, note, by }) => `${name} ${note} ${by ?? ''}`);
  const shown = pageOf(found, view.page.value, ROWS);
  return (
    <>
      {entries.length > ROWS && (
        <TableBar view={view} noun={NOUNS[kind]} shown={shown} found={found.length} all={entries.length} />
      )}
      <div class="table-scroll" role="group" aria-labelledby={titleId} tabIndex={0}>
        <table class="cards" role="table">
          <thead role="rowgroup">
            <tr role="row">
              <th scope="col" role="columnheader">
                Name
              </th>
              {columns.map(({ name, isNumeric }) => (
                <th scope="col" role="columnheader" class={isNumeric ? 'numeric' : undefined}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {shown.rows.map((entry) => (
              <Row key={`${kind} ${entry.name} ${entry.created}`} {...props} entry={entry} opens={opens} />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Row<Kind extends AccessKind>(props: TableProps<Kind> & { entry: EntryViews[Kind]; opens: boolean }) {
  const { entry, columns, opens } = props;
  const open = useSignal(false);
  const { name, note, created, by } = entry;
  return (
    <>
      <tr role="row" class={open.value ? 'open' : ''}>
        <th scope="row" role="rowheader">
          {opens ? (
            <button
              type="button"
              class="disclose"
              aria-expanded={open.value}
              onClick={() => (open.value = !open.value)}
            >
              <span class="arrow" aria-hidden="true">
                {open.value ? '▾' : '▸'}
              </span>
              <span class="id">{name}</span>
            </button>
          ) : (
            <span class="id">{name}</span>
          )}
          {note !== '' && <p class="muted">{note}</p>}
          {created !== null && (
            <p class="muted">
              made {formatDay(created)}
              {by !== null && ` by ${by}`}
            </p>
          )}
        </th>
        {columns.map(({ name: column, isNumeric, cell }) => (
          <td role="cell" data-label={column} class={isNumeric ? 'numeric' : undefined}>
            {cell(entry)}
          </td>
        ))}
      </tr>
      {open.value && (
        <tr role="row" class="panel">
          <td role="cell" colSpan={columns.length + 1}>
            <Panel {...props} />
          </td>
        </tr>
      )}
    </>
  );
}

function Panel<Kind extends AccessKind>(props: TableProps<Kind> & { entry: EntryViews[Kind] }) {
  const { kind, entry, canChange, more, view } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const { name } = entry;
  return (
    <div class={more ? 'peer-panel' : 'peer-panel single'}>
      {more && <div>{more(entry)}</div>}
      {canChange && (
        <div>
          <EntryForm
            kind={kind}
            entry={entry}
            action="Save"
            onSend={(changes) => change(kind, name, changes as EntryChange<Kind>)}
          >
            <button type="button" class="danger" onClick={() => dialog.current?.showModal()}>
              Revoke…
            </button>
          </EntryForm>
          <ConfirmDialog
            dialog={dialog}
            title={`Revoke ${name}?`}
            action="Revoke"
            onConfirm={() => void revoke(kind, name)}
          >
            {REVOKING[kind](view)}
          </ConfirmDialog>
        </div>
      )}
    </div>
  );
}
