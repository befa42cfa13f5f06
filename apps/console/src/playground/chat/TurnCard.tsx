import { useSignal } from '@preact/signals';
import { formatNumber, plural } from '../../format.ts';
import { focusSoon } from '../form.ts';
import { resultField } from './chat-request.ts';
import { send, turnFaults } from './chat.ts';
import { type AssistantTurn, changeTurn, keepTurns, setResult, type ToolCall, type Turn } from './conversation.ts';
import { pretty } from './json-checks.ts';

const names: Record<Turn['role'], string> = { user: 'User', assistant: 'Assistant' };

/** A turn of the conversation, to read, edit or remove. */
export function TurnCard(props: { turn: Turn; number: number; isLast: boolean; isRunning: boolean }) {
  const { turn, number, isLast, isRunning } = props;
  const isEdited = useSignal(false);
  const name = `${names[turn.role]}, turn ${number}`;
  const [area, button] = [`turn-${turn.key}`, `edit-${turn.key}`];
  const fault = turnFaults.value[area];
  const edit = (on: boolean): void => {
    isEdited.value = on;
    focusSoon(on ? area : button);
  };
  return (
    <article aria-label={name}>
      <div class="turn-head">
        <h3>{names[turn.role]}</h3>
        <button id={button} type="button" class="quiet" disabled={isRunning} onClick={() => edit(!isEdited.value)}>
          {isEdited.value ? 'Done' : 'Edit'}
          <span class="sr"> {name}</span>
        </button>
        <button
          type="button"
          class="quiet"
          disabled={isRunning}
          onClick={() => {
            keepTurns((other) => other.key !== turn.key);
            focusSoon('field-message');
          }}
        >
          Remove<span class="sr"> {name}</span>
        </button>
      </div>
      {turn.role === 'assistant' && <Reasoning turn={turn} />}
      {isEdited.value ? (
        <textarea
          id={area}
          aria-label={`Text of ${name}`}
          rows={Math.min(16, turn.content.split('\n').length + 1)}
          value={turn.content}
          onInput={(event) => changeTurn(turn, { content: event.currentTarget.value })}
        />
      ) : (
        <div id={area} tabIndex={-1}>
          <Content turn={turn} />
        </div>
      )}
      {fault && <p class="trouble complaint">{fault}</p>}
      {turn.role === 'assistant' && turn.calls.length > 0 && <Calls turn={turn} asksResults={isLast && !isRunning} />}
    </article>
  );
}

/** The answer that is coming; without buttons, since it is no turn yet. */
export function LiveTurn({ turn }: { turn: AssistantTurn | null }) {
  return (
    <article aria-label="Assistant, writing" aria-busy="true">
      <div class="turn-head">
        <h3>Assistant</h3>
      </div>
      {turn && <Reasoning turn={turn} />}
      <p class="text">
        {turn?.content}
        <span class="caret" aria-hidden="true" />
      </p>
      {turn && turn.calls.length > 0 && <Calls turn={turn} asksResults={false} />}
    </article>
  );
}

function Content({ turn }: { turn: Turn }) {
  if (turn.role === 'user' || !turn.asJson || turn.calls.length > 0) {
    if (turn.content !== '') return <p class="text">{turn.content}</p>;
    return turn.role === 'assistant' && turn.calls.length > 0 ? null : <p class="muted">(no text)</p>;
  }
  const json = pretty(turn.content);
  return json === null ? (
    <>
      <p class="text">{turn.content}</p>
      <p class="note tone-trouble">Not valid JSON: it was cut off, or the text was changed.</p>
    </>
  ) : (
    <>
      <pre role="group" tabIndex={0} aria-label="The answer as JSON">
        {json}
      </pre>
      <p class="note tone-working">Valid JSON.</p>
    </>
  );
}

function Reasoning({ turn }: { turn: AssistantTurn }) {
  if (turn.reasoning === '') return null;
  const count = turn.reasoningTokens > 0 ? ` · ${plural(turn.reasoningTokens, 'token')}` : '';
  return (
    <details class="reasoning">
      <summary>Reasoning{count}</summary>
      <p class="text muted">{turn.reasoning}</p>
    </details>
  );
}

function Calls({ turn, asksResults }: { turn: AssistantTurn; asksResults: boolean }) {
  return (
    <>
      <ul class="calls" aria-label="Tool calls">
        {turn.calls.map((call, at) => (
          <li class="call">
            <CallCard turn={turn} call={call} at={at} asksResult={asksResults || call.result !== ''} />
          </li>
        ))}
      </ul>
      {asksResults && (
        <p class="actions">
          <button type="button" onClick={() => void send()}>
            {turn.calls.length === 1 ? 'Send the result' : `Send the ${formatNumber(turn.calls.length)} results`}
          </button>
        </p>
      )}
    </>
  );
}

interface CallCardProps {
  turn: AssistantTurn;
  call: ToolCall;
  at: number;
  asksResult: boolean;
}

function CallCard({ turn, call, at, asksResult }: CallCardProps) {
  const json = pretty(call.arguments);
  const id = resultField(turn.key, at);
  const fault = turnFaults.value[id];
  return (
    <>
      <h4>
        Calls <span class="id">{call.name}</span>
      </h4>
      <pre role="group" tabIndex={0} aria-label={`Arguments of ${call.name}`}>
        {json ?? call.arguments}
      </pre>
      {json === null && <p class="note tone-trouble">The arguments are not valid JSON{turn.key === 0 && ' yet'}.</p>}
      {asksResult && (
        <>
          <label for={id}>Result of {call.name}</label>
          <textarea
            id={id}
            rows={2}
            spellcheck={false}
            placeholder="What the tool returns, as text or JSON"
            value={call.result}
            aria-invalid={fault ? true : undefined}
            aria-describedby={fault ? `error-${id}` : undefined}
            onInput={(event) => setResult(turn, at, event.currentTarget.value)}
          />
          {fault && (
            <span class="trouble complaint" id={`error-${id}`}>
              {fault}
            </span>
          )}
        </>
      )}
    </>
  );
}
