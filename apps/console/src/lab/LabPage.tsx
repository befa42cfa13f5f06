import { useEffect } from 'preact/hooks';
import { formatNumber, plural } from '../format.ts';
import { keyWanted } from '../playground/api-key.ts';
import { Labelled } from '../playground/Field.tsx';
import { KeyField } from '../playground/KeyField.tsx';
import { SendOrStop } from '../playground/SendOrStop.tsx';
import { Shell } from '../Shell.tsx';
import { Comparison } from './Comparison.tsx';
import { GateForm } from './GateForm.tsx';
import { facts, factsFault, faults, isRunning, loadFacts, look, looks, stop, tabs, text } from './lab.ts';
import { StudyCard } from './StudyCard.tsx';

/** Shows how gates divide a text among the experts. */
export function LabPage() {
  useEffect(() => void loadFacts(), []);
  const known = facts.value;
  return (
    <Shell
      current="/lab"
      aside={
        known && (
          <span class="model">
            <b>{known.model}</b>
          </span>
        )
      }
    >
      <h1 class="sr">Lab</h1>
      <p class="muted">
        Which experts each token of a text gets, layer by layer: by the model’s own gate, and by others in its place.
      </p>
      {keyWanted.value && <KeyField onKey={() => void loadFacts()} />}
      {factsFault.value && (
        <p class="trouble" role="alert">
          {factsFault.value}
        </p>
      )}
      {known && <LabForm />}
      {looks.value.length > 0 && (
        <>
          <Progress />
          <Comparison looks={looks.value} />
          {looks.value.map(
            ({ key, study, isPictured }, i) =>
              study && isPictured && <StudyCard key={key} id={`study-${i}`} study={study} />,
          )}
        </>
      )}
    </Shell>
  );
}

function LabForm() {
  const known = facts.value!;
  const { own, layers, experts, maxTokens } = known;
  const set = Object.entries(own.settings).map(([name, value]) => `${name} ${value}`);
  return (
    <form
      class="card lab-form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void look();
      }}
      onKeyDown={(event) => {
        if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void look();
      }}
    >
      <div class="lab-text">
        <Labelled name="text" label={`Text, up to ${formatNumber(maxTokens)} tokens`} fault={faults.value['text']}>
          <textarea
            id="field-text"
            rows={4}
            value={text.value}
            aria-invalid={faults.value['text'] ? true : undefined}
            aria-describedby={faults.value['text'] ? 'error-text' : undefined}
            onInput={(event) => (text.value = event.currentTarget.value)}
          />
        </Labelled>
        <Labelled
          name="tabs"
          label={`Count tabs as if there were (nothing: the ${plural(known.tabs, 'tab')} of now)`}
          fault={faults.value['tabs']}
        >
          <input
            id="field-tabs"
            inputMode="numeric"
            autocomplete="off"
            value={tabs.value}
            aria-invalid={faults.value['tabs'] ? true : undefined}
            aria-describedby={faults.value['tabs'] ? 'error-tabs' : undefined}
            onInput={(event) => (tabs.value = event.currentTarget.value)}
          />
        </Labelled>
        <p class="muted">
          The model’s own gate: {own.title} ({set.join(', ')}); {plural(layers.length, 'layer')} of{' '}
          {plural(experts, 'expert')}. It is always looked at.
        </p>
      </div>
      <h2>In its place, for study</h2>
      {known.refusal !== undefined ? (
        <p class="muted">{known.refusal}</p>
      ) : (
        <div class="gates">
          {known.gates.map((gate) => (
            <GateForm key={gate.name} gate={gate} />
          ))}
        </div>
      )}
      <SendOrStop word="Look" running={isRunning.value} stop={stop} />
    </form>
  );
}

function Progress() {
  const done = looks.value.filter(({ state }) => state !== 'waiting' && state !== 'running').length;
  const failed = looks.value.filter(({ state }) => state === 'failed').length;
  return (
    <p class="muted" role="status">
      {isRunning.value ? `${done} of ${looks.value.length} looked at…` : `${plural(done, 'look')} done`}
      {failed > 0 && <span class="trouble"> · {failed} failed, see below</span>}
    </p>
  );
}
