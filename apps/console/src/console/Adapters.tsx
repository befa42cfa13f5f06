import { useSignal } from '@preact/signals';
import type { AdaptersView, AdapterView } from '@shoal/protocol';
import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';
import { ConfirmDialog } from '../ConfirmDialog.tsx';
import { formatDuration, formatMemory, formatNumber, plural } from '../format.ts';
import { adapterPlaces, type Result } from './adapter-words.ts';
import { command, LOAD_DEADLINE_MS, role } from './connection.ts';
import { LoadAdapter } from './LoadAdapter.tsx';

const COLUMNS = ['Adapter', 'Rank', 'Changes', 'Memory', 'Answers', 'Loaded', ''];
const NUMERIC = new Set(['Rank', 'Memory', 'Answers', 'Loaded']);

/** The LoRA adapters that requests may name, and for operators the way to load and unload them. */
export function Adapters({ adapters, nowMs }: { adapters: AdaptersView; nowMs: number }) {
  const result = useSignal<Result | null>(null);
  const isViewer = role.value?.role === 'viewer';
  const { loaded, loading, bytes, memoryBytes, takesMore } = adapters;
  const tell = (told: Result): void => {
    result.value = told;
  };
  return (
    <section class="card" id="adapters" aria-labelledby="adapters-title" tabIndex={-1}>
      <h2 id="adapters-title">LoRA adapters</h2>
      <p class="muted">
        {plural(loaded.length, 'adapter')} loaded, {formatMemory(bytes)} of {formatMemory(memoryBytes)} in use. Requests
        name one as their model, or <i>auto</i> for the one that fits.
      </p>
      <div role="status" class="status-line">
        {loading.map(({ name, source, sinceMs }, i) => (
          <p key={name}>
            {i === 0 ? 'Loading' : 'Waiting to load'} {name} from {source}… {/* Not read out each second. */}
            <span aria-live="off">({formatDuration(nowMs - sinceMs)})</span>
          </p>
        ))}
        {result.value && <p class={result.value.ok ? '' : 'trouble'}>{result.value.text}</p>}
      </div>
      {loaded.length > 0 && (
        <div class="table-scroll" role="group" aria-labelledby="adapters-title" tabIndex={0}>
          <table class="adapters cards" role="table">
            <thead role="rowgroup">
              <tr role="row">
                {COLUMNS.map((name) => (
                  <th scope="col" role="columnheader" class={NUMERIC.has(name) ? 'numeric' : undefined}>
                    {name || <span class="sr">Unload</span>}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody role="rowgroup">
              {loaded.map((adapter) => (
                <Row key={adapter.name} adapter={adapter} nowMs={nowMs} canUnload={!isViewer} onResult={tell} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {isViewer ? (
        <p class="muted">An operator can load and unload adapters.</p>
      ) : takesMore ? (
        <LoadAdapter onResult={tell} />
      ) : (
        <p class="muted">
          None is loaded at run time: start the coordinator with <code>--adapter-dir</code> and the directory that they
          are in.
        </p>
      )}
    </section>
  );
}

/** In narrow windows each row is a card, whose figures have their columns' names. */
function Cell({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <td role="cell" data-label={name} class={NUMERIC.has(name) ? 'numeric' : undefined}>
      {children}
    </td>
  );
}

interface RowProps {
  adapter: AdapterView;
  nowMs: number;
  canUnload: boolean;
  onResult: (result: Result) => void;
}

function Row({ adapter, nowMs, canUnload, onResult }: RowProps) {
  const { name, source, description, examples, rank, bytes, requests, loadedMs } = adapter;
  const dialog = useRef<HTMLDialogElement>(null);
  const busy = useSignal(false);
  const unload = async (): Promise<void> => {
    busy.value = true;
    const reply = await command({ command: 'unload-adapter', name }, LOAD_DEADLINE_MS);
    busy.value = false;
    onResult(reply.ok ? { ok: true, text: `${name} was unloaded.` } : { ok: false, text: `${name}: ${reply.message}` });
  };
  return (
    <tr role="row">
      <th scope="row" role="rowheader">
        <span class="id">{name}</span> <span class="of">{source}</span>
        <p class="muted">
          {description ||
            (examples > 0 ? 'No description.' : 'No description and no examples: auto does not choose it.')}
        </p>
      </th>
      <Cell name="Rank">{formatNumber(rank)}</Cell>
      <Cell name="Changes">{adapterPlaces(adapter)}</Cell>
      <Cell name="Memory">{formatMemory(bytes)}</Cell>
      <Cell name="Answers">{formatNumber(requests)}</Cell>
      <Cell name="Loaded">{formatDuration(nowMs - loadedMs)}</Cell>
      <td role="cell">
        {canUnload && (
          <button
            type="button"
            class="danger"
            disabled={busy.value}
            aria-label={`Unload ${name}`}
            onClick={() => (requests > 0 ? dialog.current?.showModal() : void unload())}
          >
            {requests > 0 ? 'Unload…' : 'Unload'}
          </button>
        )}
        <ConfirmDialog dialog={dialog} title={`Unload ${name}?`} action="Unload" onConfirm={() => void unload()}>
          {plural(requests, 'answer')} {requests === 1 ? 'uses' : 'use'} it and will be finished with it; its memory is
          free after that. New requests that name it are refused.
        </ConfirmDialog>
      </td>
    </tr>
  );
}
