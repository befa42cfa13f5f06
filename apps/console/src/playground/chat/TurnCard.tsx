import { type Signal, useSignal } from '@preact/signals';
import { formatNumber, plural } from '../../format.ts';
import { focusSoon } from '../form.ts';
import { resultField, turnField } from './chat-request.ts';
import { send, turnFaults } from './chat.ts';
import { type AssistantTurn, changeTurn, keepTurns, setResult, type ToolCall, type Turn } from './conversation.ts';
import { pretty } from './json-checks.ts';

const names: Record<Turn['role'], string> = { user: 'User', assistant: 'Assistant' };

interface TurnProps {
  turn: Turn;
  number: number;
  isLast: boolean;
  /** Whether this is the answer that is coming. It has the same elements as later, so that what was unfolded stays so. */
  isLive: boolean;
  isRunning: boolean;
}

/** A turn of the conversation, to read, edit or remove. */
export function TurnCard({ turn, number, isLast, isLive, isRunning }: TurnProps) {
  const isEdited = useSignal(false);
  const name = `${names[turn.role]}, turn ${number}`;
  const area = turnField(turn.key);
  const fault = turnFaults.value[area];
  const described = fault ? `error-${area}` : undefined;
  return (
    <article aria-label={isLive ? `${name}, writing` : name} aria-busy={isLive}>
      <div class="turn-head">
        <h3>{names[turn.role]}</h3>
        {!isLive && <TurnButtons turn={turn} name={name} isEdited={isEdited} disabled={isRunning} />}
      </div>
      {turn.role === 'assistant' && <Reasoning turn={turn} />}
      {isEdited.value ? (
        <textarea
          id={area}
          aria-label={`Text of ${name}`}
          aria-invalid={fault ? true : undefined}
          aria-describedby={described}
          rows={Math.min(16, turn.content.split('\n').length + 1)}
          value={turn.content}
          onInput={(event) => changeTurn(turn, { content: event.currentTarget.value })}
        />
      ) : (
        <div id={area} role="group" aria-label={`Text of ${name}`} aria-describedby={described} tabIndex={-1}>
          <Content turn={turn} isLive={isLive} />
        </div>
      )}
      {fault && (
        <p class="trouble complaint" id={described}>
          {fault}
        </p>
      )}
      {turn.role === 'assistant' && turn.calls.length > 0 && (
        <Calls turn={turn} isLive={isLive} asksResults={isLast && !isRunning} />
      )}
    </article>
  );
}

interface TurnButtonsProps {
  turn: Turn;
  name: string;
  isEdited: Signal<boolean>;
  disabled: boolean;
}

function TurnButtons({ turn, name, isEdited, disabled }: TurnButtonsProps) {
  const button = `edit-${turn.key}`;
  const edit = (): void => {
    isEdited.value = !isEdited.value;
    focusSoon(isEdited.value ? turnField(turn.key) : button);
  };
  const remove = (): void => {
    keepTurns((other) => other.key !== turn.key);
    // The button that had the focus is gone.
    focusSoon('field-message');
  };
  return (
    <>
      <button id={button} type="button" class="quiet" disabled={disabled} onClick={edit}>
        {isEdited.value ? 'Done' : 'Edit'}
        <span class="sr"> {name}</span>
      </button>
      <button type="button" class="quiet" disabled={disabled} onClick={remove}>
        Remove<span class="sr"> {name}</span>
      </button>
    </>
  );
}

function Content({ turn, isLive }: { turn: Turn; isLive: boolean }) {
  if (isLive || turn.role === 'user' || !turn.asJson || turn.calls.length > 0) {
    const isBlank = turn.content === '' && !isLive;
    if (isBlank) return turn.role === 'assistant' && turn.calls.length > 0 ? null : <p class="muted">(no text)</p>;
    return (
      <p class="text">
        {turn.content}
        {isLive && <span class="caret" aria-hidden="true" />}
      </p>
    );
  }
  return <JsonContent text={turn.content} />;
}

/** An answer for which a JSON Schema was asked. */
function JsonContent({ text }: { text: string }) {
  const json = pretty(text);
  if (json === null) {
    return (
      <>
        <p class="text">{text}</p>
        <p class="note tone-trouble">Not valid JSON: it was cut off, or the text was changed.</p>
      </>
    );
  }
  return (
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

function Calls({ turn, isLive, asksResults }: { turn: AssistantTurn; isLive: boolean; asksResults: boolean }) {
  return (
    <>
      <ul class="calls" aria-label="Tool calls">
        {turn.calls.map((call, at) => (
          <li class="call">
            <CallCard turn={turn} call={call} at={at} isLive={isLive} asksResult={asksResults || call.result !== ''} />
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
  isLive: boolean;
  asksResult: boolean;
}

function CallCard({ turn, call, at, isLive, asksResult }: CallCardProps) {
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
      {json === null && <p class="note tone-trouble">The arguments are not valid JSON{isLive && ' yet'}.</p>}
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
