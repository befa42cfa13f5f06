import { FigureTable } from '../../FigureTable.tsx';
import { formatMs, formatNumber, plural } from '../../format.ts';
import { keyWanted } from '../api-key.ts';
import { Labelled } from '../Field.tsx';
import { fieldOf } from '../form.ts';
import { model } from '../model.ts';
import { SendOrStop } from '../SendOrStop.tsx';
import { Snippets } from '../snippets/Snippets.tsx';
import {
  bodyOf,
  type Comparison,
  compare,
  comparison,
  type FieldName,
  fieldNames,
  filled,
  form,
  stop,
} from './embed.ts';
import { nearest, similarity } from './similarity.ts';

const nameOf = (field: FieldName): string => `Text ${fieldNames.indexOf(field) + 1}`;

/** Texts that an encoder compares. */
export function EmbedMode() {
  const last = comparison.value;
  const { facts } = model.value;
  return (
    <>
      <form
        class="card embed"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          void compare();
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void compare();
        }}
      >
        {fieldNames.map((name) => (
          <Labelled key={name} name={name} label={nameOf(name)} fault={form.faults.value[name]}>
            <textarea rows={4} {...fieldOf(form, name)} />
          </Labelled>
        ))}
        <SendOrStop word="Compare" running={last?.state === 'running'} stop={stop} />
      </form>
      {last && <Outcome comparison={last} />}
      <Snippets
        call={
          facts && filled().length > 0
            ? { endpoint: 'embeddings', body: bodyOf(facts.id), withKey: keyWanted.value, reasons: false }
            : null
        }
        missing="Enter a text above first."
      />
    </>
  );
}

function Outcome({ comparison: { state, fields, result, tookMs, error } }: { comparison: Comparison }) {
  return (
    <section class="card" aria-labelledby="similarity-title">
      <h2 id="similarity-title">How alike they are</h2>
      {error && (
        <p class="trouble" role="alert">
          {error}
        </p>
      )}
      <p class="muted" role="status">
        {state === 'running' && 'Embedding…'}
        {state === 'stopped' && 'Stopped.'}
        {result &&
          `${plural(result.tokens, 'token')} in all, ${formatNumber(result.vectors[0]!.length)} values of each text, ${formatMs(tookMs!)}`}
      </p>
      {result && <Similarities fields={fields} vectors={result.vectors} />}
    </section>
  );
}

function Similarities({ fields, vectors }: { fields: readonly FieldName[]; vectors: readonly number[][] }) {
  return (
    <>
      <FigureTable label="Cosine similarities" heads={['Cosine similarity', ...fields.map(nameOf), 'Most like']}>
        {fields.map((field, row) => {
          const most = nearest(vectors, row);
          return (
            <tr>
              <th scope="row">{nameOf(field)}</th>
              {vectors.map((vector) => (
                <td class="numeric">{formatNumber(similarity(vector, vectors[row]!), 3)}</td>
              ))}
              <td class="numeric">{most === null ? '' : nameOf(fields[most]!)}</td>
            </tr>
          );
        })}
      </FigureTable>
      <p class="muted">1 is the same direction. What counts as alike is what the model was trained to put together.</p>
    </>
  );
}
