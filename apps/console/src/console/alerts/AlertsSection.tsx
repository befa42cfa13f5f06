import { signal } from '@preact/signals';
import type { AlertsView } from '@shoal/protocol';
import { useEffect } from 'preact/hooks';
import { formatNumber, plural } from '../../format.ts';
import { askAdmin, attempt } from '../access/admin-api.ts';
import type { Result } from '../adapter-words.ts';
import { role } from '../connection.ts';
import { notifyFault, notifying, setNotifying } from './notify.ts';

const READ_MS = 15_000;

const alerts = signal<AlertsView | null>(null);
const result = signal<Result | null>(null);
const isTesting = signal(false);

async function readAlerts(): Promise<void> {
  try {
    alerts.value = await askAdmin<AlertsView>('GET', 'alerts');
  } catch {
    // The console says itself when the coordinator is lost.
  }
}

async function sendTest(): Promise<void> {
  isTesting.value = true;
  result.value = null;
  result.value = await attempt(async () => {
    await askAdmin('POST', 'alerts/test');
    return 'The test message was delivered.';
  });
  isTesting.value = false;
  await readAlerts();
}

/** How operators are told of what needs attention: by a webhook, and by notifications of this browser. */
export function AlertsSection() {
  useEffect(() => {
    void readAlerts();
    const timer = setInterval(() => void readAlerts(), READ_MS);
    return () => clearInterval(timer);
  }, []);
  const view = alerts.value;
  return (
    <section class="card" id="alerts" aria-labelledby="alerts-title" tabIndex={-1}>
      <h2 id="alerts-title">Alerts</h2>
      {view && <Webhook view={view} />}
      <label class="alerts-notify">
        <input
          type="checkbox"
          checked={notifying.value}
          onChange={(e) => {
            const box = e.currentTarget;
            void setNotifying(box.checked).then(() => (box.checked = notifying.value));
          }}
        />{' '}
        Notify me in this browser while this page is open in the background
      </label>
      {notifyFault.value !== null && (
        <p class="trouble" role="status">
          {notifyFault.value}
        </p>
      )}
    </section>
  );
}

function Webhook({ view }: { view: AlertsView }) {
  if (view.webhook === null) {
    return (
      <p>
        No webhook is set, so nobody is told when something needs attention.{' '}
        <span class="muted">Set “Alerts to” in the settings, or start with --alert-webhook.</span>
      </p>
    );
  }
  return (
    <>
      <p>
        What needs attention for a while is told to <b>{view.webhook}</b>
        {view.isSigned ? ', signed' : ''}. {deliveryText(view)}
      </p>
      {view.lastError !== null && <p class="trouble">The last message was not delivered: {view.lastError}.</p>}
      {view.open.length > 0 && (
        <>
          <h3>Told, and not over</h3>
          <ul class="alerts-open">
            {view.open.map(({ key, text }) => (
              <li key={key}>{text}</li>
            ))}
          </ul>
        </>
      )}
      <div class="actions">
        <button
          type="button"
          disabled={isTesting.value || role.value?.role === 'viewer'}
          title={role.value?.role === 'viewer' ? 'Only an operator can send one' : undefined}
          onClick={() => void sendTest()}
        >
          {isTesting.value ? 'Sending…' : 'Send a test message'}
        </button>
        <span role="status" class={result.value?.ok === false ? 'trouble' : 'muted'}>
          {result.value?.text}
        </span>
      </div>
    </>
  );
}

function deliveryText({ delivered, failed, waiting }: AlertsView): string {
  const parts = [`${plural(delivered, 'message')} delivered since this coordinator started`];
  if (failed > 0) parts.push(`${formatNumber(failed)} given up`);
  if (waiting > 0) parts.push(`${formatNumber(waiting)} waiting`);
  return `${parts.join(', ')}.`;
}
