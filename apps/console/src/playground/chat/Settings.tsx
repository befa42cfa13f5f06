import { plural } from '../../format.ts';
import { Labelled } from '../Field.tsx';
import { fieldOf, setField } from '../form.ts';
import { model } from '../model.ts';
import { Parameters } from '../parameters/Parameters.tsx';
import { labelOf } from '../parameters/specs.ts';
import { NAMED } from './chat-request.ts';
import { form } from './chat.ts';
import { checkSchema, checkTools, exampleSchema, exampleTools } from './json-checks.ts';

/** What goes with each request beside the messages. */
export function Settings() {
  return (
    <>
      <Parameters form={form} reasoning={model.value.facts?.reasons ? 'common' : 'folded'} />
      <ToolsBox />
      <SchemaBox />
    </>
  );
}

function ToolsBox() {
  const text = form.values.value.tools;
  const checked = checkTools(text);
  const tools = checked.ok ? checked.value : [];
  const names = tools.map((tool) => tool.function.name);
  const choice = form.values.value.tool_choice;
  // A tool may have been chosen that is gone by now.
  const isKnown = !choice.startsWith(NAMED) || names.includes(choice.slice(NAMED.length));
  const note =
    names.length > 0
      ? `${plural(names.length, 'tool')}: ${names.join(', ')}.`
      : 'In OpenAI’s shape: [{"type": "function", …}].';
  return (
    <>
      <JsonBox name="tools" note={note} fault={checked.ok ? undefined : checked.fault} example={exampleTools} />
      {tools.length > 0 && (
        <Labelled name="tool_choice" label={labelOf('tool_choice')} fault={form.faults.value.tool_choice}>
          <select {...fieldOf(form, 'tool_choice')} value={isKnown ? choice : ''}>
            <option value="">auto: the model decides</option>
            <option value="none">none: no calls</option>
            <option value="required">required: at least one call</option>
            {names.map((name) => (
              <option value={`${NAMED}${name}`}>{name}</option>
            ))}
          </select>
        </Labelled>
      )}
    </>
  );
}

function SchemaBox() {
  const checked = checkSchema(form.values.value.schema);
  const note =
    checked.ok && checked.value ? 'The answer will be JSON that fits it.' : 'Empty: the answer is plain text.';
  return <JsonBox name="schema" note={note} fault={checked.ok ? undefined : checked.fault} example={exampleSchema} />;
}

/** A box of JSON that is checked while one types. */
function JsonBox(props: { name: 'tools' | 'schema'; note: string; fault: string | undefined; example: string }) {
  const { name, note, example } = props;
  const fault = form.faults.value[name] ?? props.fault;
  const bound = fieldOf(form, name, fault);
  const isEmpty = form.values.value[name].trim() === '';
  return (
    <div class="json-box">
      <Labelled name={name} label={labelOf(name)} fault={fault}>
        <textarea
          rows={isEmpty ? 2 : 8}
          spellcheck={false}
          placeholder="none"
          {...bound}
          aria-describedby={bound['aria-describedby'] ?? `note-${name}`}
        />
      </Labelled>
      <p class="json-note">
        {!fault && (
          <span class="muted" id={`note-${name}`}>
            {note}
          </span>
        )}
        {isEmpty && (
          <button type="button" class="quiet" onClick={() => setField(form, name, example)}>
            Example<span class="sr"> of {labelOf(name)}</span>
          </button>
        )}
      </p>
    </div>
  );
}
