import { useSignal } from '@preact/signals';
import type { ConsoleEvent, GivenCommand, PeerView } from '@shoal/protocol';
import { useRef } from 'preact/hooks';
import { Chart } from '../Chart.tsx';
import { ConfirmDialog } from '../ConfirmDialog.tsx';
import { formatBytes, formatMs, formatNumber, formatShare } from '../format.ts';
import { LengthField, ReasonField } from './bans/LengthField.tsx';
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
  const own = events.filter((event) => event.peerId === peer.peerId).slice(-EVENTS_SHOWN);
  return (
    <div class="peer-panel">
      <div>
        <h3>Lap time, last 60 s</h3>
        <Chart values={peer.lapHistoryMs} unit="ms" label={`Median lap time of ${peer.peerId}`} heightPx={130} />
        <p class="muted">
          {formatNumber(peer.rows)} rows computed · {formatBytes(peer.bytesSent)} sent to it ·{' '}
          {formatBytes(peer.bytesReceived)} received · {formatShare(peer.workShare)} of all work ·{' '}
          {formatShare(peer.lossShare)} of its laps lost
          {peer.rttMs !== null && ` · round trip ${formatMs(peer.rttMs)}`}
        </p>
        <p class="muted">
          {formatShare(peer.trust.auditShare)} of its rows are audited: {formatNumber(peer.trust.auditedRows)} so far,{' '}
          {formatNumber(peer.trust.failures)} wrong · {formatNumber(peer.trust.verifiedRows)} rows of donor {peer.donor}{' '}
          verified in total
        </p>
        {peer.credit && (
          <p class="muted">
            Its donor{peer.credit.name !== null && <bdi> {peer.credit.name}</bdi>} has helped with{' '}
            {formatNumber(Math.floor(peer.credit.tokens))} tokens in all; {formatNumber(peer.credit.verifiedRows)} of{' '}
            {formatNumber(peer.credit.rows)} rows were verified.
          </p>
        )}
      </div>
      <div>
        <h3>Events of this tab</h3>
        {own.length === 0 ? <p class="muted">None yet.</p> : <EventRows events={own} />}
        {role.value?.role === 'viewer' ? (
          <p class="muted">
            You are signed in as {role.value.name} with view-only access. An operator can drain or remove this tab.
          </p>
        ) : (
          <Commands peer={peer} onResult={onResult} />
        )}
      </div>
    </div>
  );
}

/** Sends a tab away: to rest, or out. */
function Commands({ peer, onResult }: Omit<PanelProps, 'events'>) {
  const { peerId } = peer;
  const busy = useSignal(false);
  const [draining, removing] = [useRef<HTMLDialogElement>(null), useRef<HTMLDialogElement>(null)];
  const [drainMinutes, banMinutes] = [useSignal<number | null>(15), useSignal<number | null>(60)];
  const reason = useSignal('');
  const whom = useSignal<'donor' | 'network'>('donor');
  const send = async (asked: GivenCommand, done: string): Promise<void> => {
    busy.value = true;
    const reply = await command(asked);
    busy.value = false;
    if (reply.ok) onResult(true, `${peerId} ${done}.`);
    else onResult(false, `${peerId}: ${reply.message}`);
  };
  const drain = { command: 'drain', peerId, minutes: drainMinutes.value, reason: reason.value } as const;
  const remove = {
    command: 'remove',
    peerId,
    minutes: banMinutes.value,
    reason: reason.value,
    whom: whom.value,
  } as const;
  return (
    <>
      <p class="actions">
        <button
          type="button"
          disabled={busy.value || peer.state === 'draining' || peer.state === 'gone'}
          onClick={() => draining.current?.showModal()}
        >
          Drain…
        </button>
        <button
          type="button"
          class="danger"
          disabled={busy.value || peer.state === 'gone'}
          onClick={() => removing.current?.showModal()}
        >
          Remove…
        </button>
        {busy.value && <span role="status">Waiting for the coordinator…</span>}
      </p>
      <ConfirmDialog
        dialog={draining}
        title={`Drain ${peerId}?`}
        action="Drain"
        fields={
          <>
            <LengthField label="It rests for" minutes={drainMinutes} />
            <ReasonField reason={reason} />
          </>
        }
        onConfirm={() => void send(drain, 'is draining and gets no new work')}
      >
        Others take over its {formatNumber(peer.experts)} experts first. Its donor is told kindly that it rests, and the
        tab comes back by itself when the time is over or the drain is lifted.
      </ConfirmDialog>
      <ConfirmDialog
        dialog={removing}
        title={`Remove ${peerId}?`}
        action="Remove"
        fields={
          <>
            <div>
              <label for={`whom-${peerId}`}>Keep out</label>{' '}
              <select
                id={`whom-${peerId}`}
                value={whom.value}
                onChange={({ currentTarget: { value } }) => (whom.value = value as 'donor' | 'network')}
              >
                <option value="donor">this donor, with all tabs of the browser</option>
                <option value="network">everybody at {peer.address}</option>
              </select>
            </div>
            <LengthField label="For" minutes={banMinutes} />
            <ReasonField reason={reason} />
          </>
        }
        onConfirm={() => void send(remove, 'was removed and is kept out')}
      >
        Its connection is closed at once, and its {formatNumber(peer.experts)} experts move to other tabs or to the
        coordinator. Answers in progress continue. <i>Drain</i> is the gentler option.
      </ConfirmDialog>
    </>
  );
}
