import { signal } from '@preact/signals';
import { fieldOf, type Form } from '../form.ts';
import { Labelled } from '../Field.tsx';
import { commonSpecs, moreSpecs, type ParameterName, type ParameterSpec, reasoningSpecs, stopSpec } from './specs.ts';

/** Whether the less common parameters are unfolded, in both modes. */
const isMoreOpen = signal(false);

/** Makes sure that the field can be seen and focused. */
export function unfold(field: string): void {
  if ([...moreSpecs, ...reasoningSpecs].some(({ name }) => name === field)) isMoreOpen.value = true;
}

/** The request's parameters; `reasoning` adds those of models that reason, in sight or folded. */
export function Parameters<Name extends string>(props: {
  form: Form<Name | ParameterName>;
  reasoning?: 'common' | 'folded';
}) {
  // A form with more fields; only these are touched here.
  const form = props.form as unknown as Form<ParameterName>;
  const common =
    props.reasoning === 'common' ? [...commonSpecs, ...reasoningSpecs, stopSpec] : [...commonSpecs, stopSpec];
  const more = props.reasoning === 'folded' ? [...reasoningSpecs, ...moreSpecs] : moreSpecs;
  const set = more.filter(({ name }) => form.values.value[name].trim() !== '').length;
  return (
    <>
      <div class="parameters">
        {common.map((spec) => (
          <Parameter form={form} spec={spec} />
        ))}
      </div>
      <details class="more" open={isMoreOpen.value} onToggle={(event) => (isMoreOpen.value = event.currentTarget.open)}>
        <summary>More parameters{set > 0 && ` (${set} set)`}</summary>
        <div class="parameters">
          {more.map((spec) => (
            <Parameter form={form} spec={spec} />
          ))}
        </div>
      </details>
    </>
  );
}

function Parameter({ form, spec }: { form: Form<ParameterName>; spec: ParameterSpec }) {
  const { name, label, hint, field } = spec;
  const bound = fieldOf(form, name);
  const isWide = field === 'lines' || field === 'json';
  return (
    <Labelled name={name} label={label} fault={form.faults.value[name]} class={isWide ? 'wide' : ''}>
      {isWide ? (
        <textarea rows={1} placeholder={hint} spellcheck={false} {...bound} />
      ) : field === 'number' ? (
        <input inputMode="decimal" autocomplete="off" placeholder={hint} {...bound} />
      ) : (
        <select {...bound}>
          {field.map(([value, word]) => (
            <option value={value}>{word}</option>
          ))}
        </select>
      )}
    </Labelled>
  );
}
