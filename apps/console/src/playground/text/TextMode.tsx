import { signal } from '@preact/signals';
import { keyWanted } from '../api-key.ts';
import { Outcome, WhoComputed } from '../Answer.tsx';
import { Labelled } from '../Field.tsx';
import { fieldOf, focusSoon, makeForm } from '../form.ts';
import { askedModel, loadModel, model } from '../model.ts';
import { Parameters, unfold } from '../parameters/Parameters.tsx';
import { fieldOfParameter } from '../parameters/read.ts';
import { labelOf } from '../parameters/specs.ts';
import { type Run, Runner } from '../run.ts';
import { SendOrStop } from '../SendOrStop.tsx';
import { Snippets } from '../snippets/Snippets.tsx';
import { initialText, readText, type TextBody, type TextValues } from './text-request.ts';

const form = makeForm<keyof TextValues>('shoal-text-form', initialText);
const runner = new Runner<TextBody>('./v1/completions');
/** The field that shows the last error, if it is at one. */
const shownAt = signal<string | null>(null);

function focusField(name: string): void {
  unfold(name);
  focusSoon(`field-${name}`);
}

async function submit(): Promise<void> {
  await loadModel();
  const read = readText(form.values.value, askedModel.value);
  form.faults.value = read.ok ? {} : read.faults;
  const [wrong] = Object.keys(form.faults.value);
  if (wrong !== undefined) return focusField(wrong);
  if (!model.value.facts || !read.ok) return;
  shownAt.value = null;
  const { fault } = await runner.start(read.body);
  const field = fault?.param ? fieldOfParameter(fault.param) : '';
  if (!fault || !Object.hasOwn(form.values.value, field)) return;
  form.faults.value = { [field]: fault.message };
  shownAt.value = field;
  focusField(field);
}

/** One prompt that the model continues. */
export function TextMode() {
  const run = runner.run.value;
  const read = readText(form.values.value, askedModel.value);
  return (
    <>
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
        <Labelled name="prompt" label="Prompt" fault={form.faults.value.prompt} class="prompt">
          <textarea rows={4} {...fieldOf(form, 'prompt')} />
        </Labelled>
        <div class="settings">
          <Parameters form={form} />
        </div>
        <SendOrStop word="Write" running={run?.state === 'running'} stop={() => runner.stop()} />
      </form>
      {run && <TextAnswer run={run} />}
      {run && <WhoComputed tokens={run.tokens} />}
      <Snippets
        call={
          read.ok && model.value.facts
            ? { endpoint: 'text', body: read.body, withKey: keyWanted.value, reasons: false }
            : null
        }
        missing="Complete the request above first."
      />
    </>
  );
}

function TextAnswer({ run }: { run: Run<TextBody> }) {
  const isRunning = run.state === 'running';
  return (
    <section class="card answer" aria-labelledby="answer-title">
      <Outcome run={run} seeField={shownAt.value && labelOf(shownAt.value)} />
      <p class="text" aria-busy={isRunning}>
        <span class="muted">{run.body.prompt}</span>
        {run.text}
        {isRunning && <span class="caret" aria-hidden="true" />}
      </p>
    </section>
  );
}
