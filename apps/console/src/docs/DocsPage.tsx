import { useEffect } from 'preact/hooks';
import { KeyField } from '../playground/KeyField.tsx';
import { keyWanted } from '../playground/api-key.ts';
import { loadModel } from '../playground/model.ts';
import { Shell } from '../Shell.tsx';
import { adminToken, baseUrl, loaded, loadDocument } from './api.ts';
import { Code } from './Code.tsx';
import { type ApiDocument, byTag, type Operation } from './document.ts';
import { opened, OperationCard } from './OperationCard.tsx';

/** The operation that is open if the address names none. */
const FIRST = 'post-v1-completions';

/** Opens the operation that the address names, and moves to it. */
function openNamed(): void {
  const id = location.hash.slice(1) || FIRST;
  opened.value = new Set([...opened.value, id]);
  if (location.hash !== '') requestAnimationFrame(() => document.getElementById(id)?.scrollIntoView());
}

export function DocsPage() {
  useEffect(() => {
    void loadDocument().then(openNamed);
    // Tells whether keys are required.
    void loadModel();
    addEventListener('hashchange', openNamed);
    return () => removeEventListener('hashchange', openNamed);
  }, []);
  const { document, error } = loaded.value;
  return (
    <Shell current="/docs">
      <h1 class="sr">API</h1>
      {error && (
        <p class="trouble" role="alert">
          {error} <button onClick={() => void loadDocument()}>Ask again</button>
        </p>
      )}
      {document && <Contents document={document} />}
    </Shell>
  );
}

function Contents({ document }: { document: ApiDocument }) {
  const groups = byTag(document.operations);
  return (
    <div class="docs">
      <nav class="docs-nav" aria-label="Endpoints">
        {groups.map(({ tag, operations }) => (
          <details key={tag} open={matchMedia('(min-width: 1101px)').matches}>
            <summary>{tag}</summary>
            <ul>
              {operations.map(({ id, method, path }) => (
                <li key={id}>
                  <a href={`#${id}`}>
                    <span class="method">{method}</span> <span>{path}</span>
                  </a>
                </li>
              ))}
            </ul>
          </details>
        ))}
      </nav>
      <div class="docs-content">
        <Introduction document={document} />
        {keyWanted.value && <KeyField onKey={() => void loadModel({ again: true })} />}
        {groups.map(({ tag, operations }) => (
          <Group key={tag} tag={tag} operations={operations} document={document} />
        ))}
      </div>
    </div>
  );
}

function Introduction({ document }: { document: ApiDocument }) {
  return (
    <section class="card" aria-labelledby="docs-start">
      <h2 id="docs-start">Start here</h2>
      <p>
        <Code text={document.description} />
      </p>
      <p>
        Clients of OpenAI take <code>{baseUrl()}/v1</code> as their base URL, and Anthropic’s take{' '}
        <code>{baseUrl()}</code>.{' '}
        {keyWanted.value
          ? 'This coordinator requires an API key: its operator gives keys out.'
          : 'This coordinator requires no API key: where a client wants one, any will do.'}
      </p>
      <p class="muted">
        The same as a document for programs: <a href="./openapi.json">openapi.json</a> (OpenAPI 3.1).
      </p>
    </section>
  );
}

function Group(props: { tag: string; operations: readonly Operation[]; document: ApiDocument }) {
  const { tag, operations, document } = props;
  const id = `tag-${tag.toLowerCase().replaceAll(/\W+/g, '-')}`;
  const forAdmins = operations.some(({ lock }) => lock === 'admin');
  return (
    <section class="docs-group" aria-labelledby={id}>
      <h2 id={id}>{tag}</h2>
      {forAdmins && <AdminToken />}
      {operations.map((operation) => (
        <OperationCard key={operation.id} operation={operation} schemas={document.schemas} />
      ))}
    </section>
  );
}

function AdminToken() {
  return (
    <div class="card key">
      <label for="field-admin-token">Admin’s token</label>
      <input
        id="field-admin-token"
        type="password"
        autocomplete="off"
        value={adminToken.value}
        aria-describedby="admin-token-hint"
        onInput={(event) => (adminToken.value = event.currentTarget.value.trim())}
      />
      <span class="muted" id="admin-token-hint">
        Only for trying out what says that it needs one. It is forgotten when you leave this page.
      </span>
    </div>
  );
}
