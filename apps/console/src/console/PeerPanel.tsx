import { useSignal } from '@preact/signals';
import type { ConsoleEvent, PeerCommand, PeerView } from '@shoal/protocol';
import { useRef } from 'preact/hooks';
import { Chart } from '../Chart.tsx';
import { ConfirmDialog } from '../ConfirmDialog.tsx';
import { formatBytes, formatNumber } from '../format.ts';
import { command, role } from './connection.ts';
import { EventRows } from './EventLog.tsx';

/** Enough for a glance; the event log has all of them, filtered by the peer's id. */
const EVENTS_SHOWN = 20;

interface PanelProps {
  peer: PeerView;
  events: ConsoleEvent[];
  onResult: (ok: boolean, text: string) => void;
}

export function PeerPanel({ peer, events, onResult }: PanelProps) {
  const busy = useSignal(false);
  const dialog = useRef<HTMLDialogElement>(null);
  const own = events.filter((event) => event.peerId === peer.peerId).slice(-EVENTS_SHOWN);

  const send = async (name: PeerCommand['command']): Promise<void> => {
    busy.value = true;
    const reply = await command({ command: name, peerId: peer.peerId });
    busy.value = false;
    const done = name === 'drain' ? 'is draining and gets no new work' : 'was removed';
    if (reply.ok) onResult(true, `${peer.peerId} ${done}.`);
    else onResult(false, `${peer.peerId}: ${reply.message}`);
  };

  return (
    <div class="peer-panel">
      <div>
        <h3>Lap time, last 60 s</h3>
        <Chart values={peer.lapHistoryMs} unit="ms" label={`Median lap time of ${peer.peerId}`} heightPx={130} />
        <p class="muted">
          {formatNumber(peer.rows)} rows computed · {formatBytes(peer.bytesSent)} sent to it ·{' '}
          {formatBytes(peer.bytesReceived)} received · {formatNumber(peer.trust.auditedRows)} rows audited,{' '}
          {formatNumber(peer.trust.failures)} wrong · {formatNumber(peer.trust.verifiedRows)} rows of donor {peer.donor}{' '}
          verified in total
        </p>
      </div>
      <div>
        <h3>Events of this tab</h3>
        {own.length === 0 ? <p class="muted">None yet.</p> : <EventRows events={own} />}
        {role.value?.role === 'viewer' ? (
          <p class="muted">
            You are signed in as {role.value.name} with view-only access. An operator can drain or remove this tab.
          </p>
        ) : (
          <p class="actions">
            <button
              type="button"
              disabled={busy.value || peer.state === 'draining' || peer.state === 'gone'}
              onClick={() => void send('drain')}
            >
              Drain
            </button>
            <button
              type="button"
              class="danger"
              disabled={busy.value || peer.state === 'gone'}
              onClick={() => dialog.current?.showModal()}
            >
              Remove…
            </button>
            {busy.value && <span role="status">Waiting for the coordinator…</span>}
          </p>
        )}
      </div>
      <ConfirmDialog
        dialog={dialog}
        title={`Remove ${peer.peerId}?`}
        action="Remove"
        onConfirm={() => void send('remove')}
      >
        Its connection is closed at once, and its {formatNumber(peer.experts)} experts move to other tabs or to the
        coordinator. Answers in progress continue. <i>Drain</i> is the gentler option.
      </ConfirmDialog>
    </div>
  );
}
