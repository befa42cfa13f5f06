import { signal, useSignal } from '@preact/signals';
import { Code } from './Code.tsx';
import type { ApiDocument, Lock, Operation } from './document.ts';
import { fieldsOf, type FieldRow, typeOf } from './fields.ts';
import { Programs } from './Programs.tsx';
import { TryIt } from './TryIt.tsx';

/** The ids of the operations that are open. */
export const opened = signal<ReadonlySet<string>>(new Set());

const LOCKS: Readonly<Record<Lock, string>> = {
  open: 'Open to all: it asks for no key.',
  key: 'Asks for an API key where the coordinator requires keys.',
  admin: 'Needs an admin’s token of the console.',
  'maybe-admin': 'Needs an admin’s token where there are admins besides the first.',
};

type Schemas = ApiDocument['schemas'];

/** One endpoint, closed until somebody wants to see it. */
export function OperationCard({ operation, schemas }: { operation: Operation; schemas: Schemas }) {
  const { id, method, path, summary } = operation;
  const isOpen = opened.value.has(id);
  return (
    <details
      class="card operation"
      id={id}
      open={isOpen}
      onToggle={(event) => {
        if (event.currentTarget.open === opened.value.has(id)) return;
        const others = [...opened.value].filter((one) => one !== id);
        opened.value = new Set(event.currentTarget.open ? [...others, id] : others);
      }}
    >
      <summary>
        <h3>
          <span class="method">{method}</span> <span class="path">{path}</span>
        </h3>
        <span class="summary">
          <Code text={summary} />
        </span>
      </summary>
      {isOpen && <Details operation={operation} schemas={schemas} />}
    </details>
  );
}

function Details({ operation, schemas }: { operation: Operation; schemas: Schemas }) {
  const { description, lock, parameters, body, answers } = operation;
  const values = useSignal<Readonly<Record<string, string>>>({});
  const text = useSignal(body ? JSON.stringify(body.examples[0]?.value ?? {}, null, 2) : '');
  const request = body ? fieldsOf(body.schema, schemas) : [];
  return (
    <div class="operation-parts">
      <div class="operation-words">
        {description !== '' && (
          <p>
            <Code text={description} />
          </p>
        )}
        <p class="muted">{LOCKS[lock]}</p>
        {parameters.length > 0 && (
          <FieldList
            title="Parameters"
            rows={parameters.map(({ name, required, description: words, schema, in: place }) => ({
              name,
              required,
              type: `${typeOf(schema, schemas)}, in the ${place}`,
              description: words,
            }))}
          />
        )}
        {request.length > 0 && <FieldList title="Fields of the request" rows={request} />}
        <Answers answers={answers} schemas={schemas} />
      </div>
      <div class="operation-code">
        <Programs operation={operation} values={values.value} text={text.value} />
        <TryIt operation={operation} values={values} text={text} />
      </div>
    </div>
  );
}

function Answers({ answers, schemas }: { answers: Operation['answers']; schemas: Schemas }) {
  const fields = answers.filter(({ schema }) => schema?.$ref !== undefined && !schema.$ref.endsWith('Error'));
  return (
    <>
      <h4>Answers</h4>
      <dl class="answers">
        {answers.map(({ status, description, types }) => (
          <div key={status}>
            <dt class="id">{status}</dt>
            <dd>
              <Code text={description} /> {types.length > 0 && <span class="muted">{types.join(', ')}</span>}
            </dd>
          </div>
        ))}
      </dl>
      {fields.map(({ status, schema }) => (
        <FieldList key={status} title={`Fields of the answer (${status})`} rows={fieldsOf(schema!, schemas)} />
      ))}
    </>
  );
}

/** Required fields first; a list, since a table of these doesn't fit on a telephone. */
function FieldList({ title, rows }: { title: string; rows: readonly FieldRow[] }) {
  if (rows.length === 0) return null;
  return (
    <details class="fields" open={rows.length <= 8}>
      <summary>
        {title} ({rows.length})
      </summary>
      <dl>
        {rows.map(({ name, type, required, description }) => (
          <div key={name}>
            <dt>
              <span class="id">{name}</span>
              {required && <b> required</b>}
            </dt>
            <dd>
              <span class="muted">{type}</span>
              {description !== '' && (
                <>
                  <br />
                  <Code text={description} />
                </>
              )}
            </dd>
          </div>
        ))}
      </dl>
    </details>
  );
}
