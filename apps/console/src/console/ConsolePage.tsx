import { useSignal } from '@preact/signals';
import type { ConsoleSnapshot } from '@shoal/protocol';
import { useEffect } from 'preact/hooks';
import { formatDuration } from '../format.ts';
import { Shell } from '../Shell.tsx';
import { AccessSection } from './access/AccessSection.tsx';
import { Adapters } from './Adapters.tsx';
import { AlertsSection } from './alerts/AlertsSection.tsx';
import { Attention } from './attention/Attention.tsx';
import { events, findToken, link, nowMs, role, signIn, signOut, snapshot } from './connection.ts';
import { Coordinators } from './Coordinators.tsx';
import { EventLog } from './EventLog.tsx';
import { Flow } from './Flow.tsx';
import { HistorySection } from './history/HistorySection.tsx';
import { Login } from './Login.tsx';
import type { Cell } from './map-layout.ts';
import { PlacementMap } from './PlacementMap.tsx';
import { Peers } from './Peers.tsx';
import { Requests } from './Requests.tsx';
import { Verdict } from './Verdict.tsx';

export function ConsolePage() {
  useEffect(() => {
    const token = findToken();
    if (token) signIn(token);
  }, []);
  const state = link.value;
  const now = snapshot.value;

  if (state.state === 'signed-out') {
    return (
      <Shell current="/console">
        <Login refusal={state.refusal} onToken={signIn} />
      </Shell>
    );
  }
  if (!now) {
    const sinceMs = state.state === 'live' ? nowMs.value : state.sinceMs;
    return (
      <Shell current="/console" aside={<SignOut />}>
        <p class="card" role="status">
          Connecting to the coordinator… ({formatDuration(nowMs.value - sinceMs)})
        </p>
      </Shell>
    );
  }
  return (
    <Shell current="/console" aside={<Aside now={now} />}>
      {state.state === 'lost' && <Lost sinceMs={state.sinceMs} />}
      <div class={state.state === 'lost' ? 'console stale' : 'console'}>
        <Board now={now} />
      </div>
    </Shell>
  );
}

function Board({ now }: { now: ConsoleSnapshot }) {
  const cell = useSignal<Cell | null>(null);
  return (
    <>
      <h1 class="sr">Console</h1>
      <Verdict now={now} />
      <Attention items={now.attention} nowMs={now.nowMs} />
      <Peers now={now} events={events.value} cell={cell} />
      <PlacementMap
        placement={now.placement}
        onPick={(picked) => {
          cell.value = picked;
          document.getElementById('peers')?.scrollIntoView();
        }}
      />
      <Flow flow={now.flow} />
      {now.coordinators && <Coordinators coordinators={now.coordinators} />}
      {now.adapters && <Adapters adapters={now.adapters} nowMs={now.nowMs} />}
      <Requests requests={now.requests} queued={now.queuedRequests} waits={now.waits} />
      <AccessSection />
      <HistorySection />
      <EventLog events={events.value} />
      <AlertsSection />
    </>
  );
}

function Lost({ sinceMs }: { sinceMs: number }) {
  return (
    <p class="banner" role="alert">
      Lost the connection to the coordinator {/* Not read out: an alert that changes each second would never stop. */}
      <span aria-live="off">{formatDuration(nowMs.value - sinceMs)} ago</span>; reconnecting. The figures below are out
      of date.
    </p>
  );
}

function Aside({ now }: { now: ConsoleSnapshot }) {
  return (
    <>
      <span class="model">
        <b>{now.modelId}</b> {now.quant} · v{now.version} · up {formatDuration(now.nowMs - now.startedMs)}
      </span>
      {role.value?.role === 'viewer' && <span class="model">{role.value.name} (view only)</span>}
      <SignOut />
    </>
  );
}

function SignOut() {
  return (
    <button type="button" class="quiet" onClick={() => signOut()}>
      Sign out
    </button>
  );
}
