import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Shell } from '../Shell.tsx';
import { apiKey, keyWanted, setApiKey } from './api-key.ts';
import { complete, fetchModelId, run, stop } from './completion.ts';
import { Answer } from './Answer.tsx';
import { type Form, readForm } from './parameters.ts';
import { Snippets } from './Snippets.tsx';
import { Strip } from './Strip.tsx';

const initial: Form = {
  prompt: 'Once upon a time, there was a little fish who',
  temperature: '0.8',
  topP: '0.95',
  maxTokens: '120',
  seed: '',
  stop: '',
};

const numbers: { field: 'temperature' | 'topP' | 'maxTokens' | 'seed'; label: string; hint?: string }[] = [
  { field: 'temperature', label: 'Temperature' },
  { field: 'topP', label: 'Top p' },
  { field: 'maxTokens', label: 'Max tokens' },
  { field: 'seed', label: 'Seed', hint: 'any' },
];

export function PlaygroundPage() {
  const form = useSignal<Form>(initial);
  const errors = useSignal<Partial<Record<keyof Form, string>>>({});
  const model = useSignal<{ id: string | null; error: string | null }>({ id: null, error: null });
  const loadModel = async (): Promise<string | null> => {
    try {
      model.value = { id: await fetchModelId(), error: null };
    } catch (error) {
      const why = error instanceof TypeError ? 'the coordinator cannot be reached.' : (error as Error).message;
      model.value = { id: null, error: `Couldn’t find out which model is served: ${why}` };
    }
    return model.value.id;
  };
  useEffect(() => void loadModel(), []);

  const submit = async (): Promise<void> => {
    const id = model.value.id ?? (await loadModel());
    const read = readForm(form.value, id ?? '');
    errors.value = read.ok ? {} : read.errors;
    const [firstWrong] = Object.keys(errors.value);
    if (firstWrong) document.getElementById(`field-${firstWrong}`)?.focus();
    else if (id !== null && read.ok) await complete(read.body);
  };
  const now = run.value;
  const running = now?.state === 'running';
  const field = (name: keyof Form) => ({
    id: `field-${name}`,
    value: form.value[name],
    'aria-invalid': errors.value[name] ? true : undefined,
    'aria-describedby': errors.value[name] ? `error-${name}` : undefined,
    onInput: (event: { currentTarget: HTMLInputElement | HTMLTextAreaElement }) => {
      form.value = { ...form.value, [name]: event.currentTarget.value };
    },
  });
  const complaint = (name: keyof Form) =>
    errors.value[name] && (
      <span class="trouble complaint" id={`error-${name}`}>
        {errors.value[name]}
      </span>
    );
  const body = readForm(form.value, model.value.id ?? '');

  return (
    <Shell
      current="/playground"
      aside={
        model.value.id && (
          <span class="model">
            <b>{model.value.id}</b>
          </span>
        )
      }
    >
      <h1 class="sr">Playground</h1>
      <form
        class="card ask"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void submit();
        }}
      >
        <div class="prompt">
          <label for="field-prompt">Prompt</label>
          <textarea rows={4} {...field('prompt')} />
          {complaint('prompt')}
        </div>
        {keyWanted.value && (
          <div class="prompt">
            <label for="field-key">API key</label>
            <input
              id="field-key"
              type="password"
              autocomplete="off"
              value={apiKey.value}
              aria-describedby="key-hint"
              onChange={(event) => {
                setApiKey(event.currentTarget.value);
                void loadModel();
              }}
            />
            <span class="muted" id="key-hint">
              This coordinator requires a key. It stays in this tab and is forgotten when you close it.
            </span>
          </div>
        )}
        <div class="parameters">
          {numbers.map(({ field: name, label, hint }) => (
            <div>
              <label for={`field-${name}`}>{label}</label>
              <input inputMode="decimal" autocomplete="off" placeholder={hint} {...field(name)} />
              {complaint(name)}
            </div>
          ))}
          <div class="stop">
            <label for="field-stop">Stop at, one per line</label>
            <textarea rows={1} {...field('stop')} />
            {complaint('stop')}
          </div>
        </div>
        <p class="actions">
          {/* Keys, since a reused element would become a submit button during the click that stops. */}
          {running ? (
            <button key="stop" type="button" class="primary" onClick={stop}>
              Stop
            </button>
          ) : (
            <button key="write" type="submit" class="primary">
              Write
            </button>
          )}
          <span class="muted">or press Ctrl + Enter</span>
        </p>
        {model.value.error && (
          <p class="trouble" role="alert">
            {model.value.error}
          </p>
        )}
      </form>
      {now && <Answer run={now} />}
      {now && now.tokens.length > 0 && (
        <section class="card" aria-labelledby="strip-title">
          <h2 id="strip-title">Who computed what</h2>
          <p class="muted">
            Every token went through the layers from top to bottom. In each layer the gate chose a few experts; the
            colours show which browser tabs computed them. Drag along the words or use the arrow keys.
          </p>
          <Strip tokens={now.tokens} />
        </section>
      )}
      {body.ok && <Snippets body={body.body} withKey={keyWanted.value} />}
    </Shell>
  );
}
