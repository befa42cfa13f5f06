import { type Signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { noteStatus } from '../playground/api-key.ts';
import { send, type Trial, urlOf } from './api.ts';
import type { Operation } from './document.ts';

interface Form {
  operation: Operation;
  values: Signal<Readonly<Record<string, string>>>;
  /** The body as it is typed. */
  text: Signal<string>;
}

/** Sends the request from here, and shows the answer while it comes. */
export function TryIt({ operation, values, text }: Form) {
  const { id, parameters, body } = operation;
  const trial = useSignal<Trial | null>(null);
  const fault = useSignal('');
  const stop = useRef<AbortController>(undefined);
  useEffect(() => () => stop.current?.abort(), []);
  const isRunning = trial.value?.state === 'running';
  const start = (): void => {
    fault.value = faultOf(operation, values.value, text.value);
    if (fault.value !== '' || isRunning) return;
    stop.current = new AbortController();
    const show = (shown: Trial): void => {
      trial.value = shown;
      if (shown.note.startsWith('401')) noteStatus(401);
    };
    void send(operation, urlOf(operation, values.value), body ? text.value : undefined, show, stop.current.signal);
  };
  return (
    <form
      class="try"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        start();
      }}
    >
      <h4>Try it</h4>
      {parameters.map(({ name, example, required }) => (
        <label key={name}>
          <span>
            {name}
            {required && ' (required)'}
          </span>
          <input
            value={values.value[name] ?? example}
            autocomplete="off"
            onInput={(event) => (values.value = { ...values.value, [name]: event.currentTarget.value })}
          />
        </label>
      ))}
      {body && body.examples.length > 1 && <Examples operation={operation} text={text} />}
      {body && (
        <label>
          <span>Body</span>
          <textarea
            class="id"
            rows={Math.min(14, text.value.split('\n').length)}
            spellcheck={false}
            value={text.value}
            aria-invalid={fault.value !== ''}
            aria-describedby={`${id}-fault`}
            onInput={(event) => (text.value = event.currentTarget.value)}
          />
        </label>
      )}
      <p class="trouble" id={`${id}-fault`} role="alert">
        {fault.value}
      </p>
      <p class="actions">
        <button type="submit" class="primary" disabled={isRunning}>
          Send
        </button>
        {isRunning && (
          <button type="button" onClick={() => stop.current?.abort()}>
            Stop
          </button>
        )}
        <span role="status" class={trial.value?.state === 'failed' ? 'trouble' : ''}>
          {trial.value?.note}
        </span>
      </p>
      {trial.value && trial.value.text !== '' && (
        <pre class="answer-text" role="group" tabIndex={0} aria-label="The answer">
          {trial.value.text}
        </pre>
      )}
    </form>
  );
}

function Examples({ operation, text }: Pick<Form, 'operation' | 'text'>) {
  const { id, body } = operation;
  return (
    <label>
      <span>Example</span>
      <select
        id={`${id}-example`}
        onChange={(event) => {
          const chosen = body?.examples.find(({ name }) => name === event.currentTarget.value);
          text.value = JSON.stringify(chosen?.value, null, 2);
        }}
      >
        {body?.examples.map(({ name }) => (
          <option value={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

/** Why the request can't be sent; empty if it can. */
function faultOf({ parameters, body }: Operation, values: Readonly<Record<string, string>>, text: string): string {
  const missing = parameters.find(({ name, required, example }) => required && (values[name] ?? example).trim() === '');
  if (missing) return `Enter a value for ${missing.name}.`;
  if (!body) return '';
  try {
    JSON.parse(text);
    return '';
  } catch (error) {
    return `The body is not JSON: ${(error as Error).message}`;
  }
}
