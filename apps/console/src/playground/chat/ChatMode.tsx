import { keyWanted } from '../api-key.ts';
import { Outcome, WhoComputed } from '../Answer.tsx';
import { Complaint, Labelled } from '../Field.tsx';
import { fieldOf } from '../form.ts';
import { askedModel, model } from '../model.ts';
import { labelOf } from '../parameters/specs.ts';
import type { Run } from '../run.ts';
import { SendOrStop } from '../SendOrStop.tsx';
import { Snippets } from '../snippets/Snippets.tsx';
import { type ChatBody, chatBody, messagesOf, readSettings, turnsToShow } from './chat-request.ts';
import { answerAgain, form, liveKey, newChat, runner, send, shownAt } from './chat.ts';
import { bringBack, removed, turnOf, turns } from './conversation.ts';
import { Settings } from './Settings.tsx';
import { TurnCard } from './TurnCard.tsx';

/** A conversation with the model, and what goes with each request. */
export function ChatMode() {
  const run = runner.run.value;
  return (
    <>
      <form
        class="chat"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void send();
        }}
      >
        <Conversation />
        <section class="card settings" aria-labelledby="settings-title">
          <h2 id="settings-title">Settings</h2>
          <Settings />
        </section>
      </form>
      {run && <WhoComputed tokens={run.tokens} />}
      <ChatSnippets />
    </>
  );
}

function Conversation() {
  const run = runner.run.value;
  const isRunning = run?.state === 'running';
  return (
    <section class="card conversation" aria-labelledby="chat-title">
      <div class="conversation-head">
        <h2 id="chat-title">Conversation</h2>
        {removed.value && !isRunning && (
          <button type="button" onClick={bringBack}>
            Bring back what was removed
          </button>
        )}
        <button type="button" onClick={newChat} disabled={turns.value.length === 0 && !run}>
          New chat
        </button>
      </div>
      <Labelled name="system" label={labelOf('system')} fault={form.faults.value.system}>
        <textarea rows={2} placeholder="none" {...fieldOf(form, 'system')} />
      </Labelled>
      <Turns run={run} />
      {run && (
        <div class="outcome">
          <Outcome run={run} seeField={seeField()} />
        </div>
      )}
      <Composer isRunning={isRunning} />
    </section>
  );
}

/** The turns, with the one that is coming. */
function Turns({ run }: { run: Run<ChatBody> | null }) {
  const key = liveKey.value;
  const shown = run && key !== 0 ? [...turns.value, turnOf(run, key)] : turns.value;
  if (shown.length === 0) return null;
  return (
    <ol class="turns" aria-label="Turns">
      {shown.map((turn, i) => (
        <li key={turn.key} class={`turn ${turn.role}`}>
          <TurnCard
            turn={turn}
            number={i + 1}
            isLast={i === shown.length - 1}
            isLive={turn.key === key}
            isRunning={run?.state === 'running'}
          />
        </li>
      ))}
    </ol>
  );
}

/** The name of the place that shows the last error. */
function seeField(): string | null {
  const id = shownAt.value;
  if (id === null) return null;
  return id.startsWith('field-') ? labelOf(id.slice('field-'.length)) : 'the marked turn';
}

function Composer({ isRunning }: { isRunning: boolean }) {
  const last = turns.value.at(-1);
  return (
    <div class="composer">
      <label for="field-message">{labelOf('message')}</label>
      <textarea rows={3} {...fieldOf(form, 'message')} />
      <Complaint name="message" fault={form.faults.value.message} />
      <SendOrStop word="Send" running={isRunning} stop={() => runner.stop()}>
        {last?.role === 'assistant' && !isRunning && (
          <button type="button" onClick={() => void answerAgain()}>
            Answer again
          </button>
        )}
      </SendOrStop>
    </div>
  );
}

function ChatSnippets() {
  const { facts } = model.value;
  const read = readSettings(form.values.value);
  const { system, message } = form.values.value;
  const shown = turnsToShow(turns.value, message);
  const { messages } = messagesOf(system, shown);
  const body = read.ok && facts && shown.length > 0 ? chatBody(askedModel.value, messages, read.settings) : null;
  return (
    <Snippets
      call={body && facts ? { endpoint: 'chat', body, withKey: keyWanted.value, reasons: facts.reasons } : null}
      missing="Type a message, and correct what is marked, first."
    />
  );
}
