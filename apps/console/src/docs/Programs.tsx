import { useSignal } from '@preact/signals';
import { copyText } from '../environment.ts';
import { keyWanted } from '../playground/api-key.ts';
import { languages } from '../playground/snippets/snippet.ts';
import { baseUrl, isBinary, language, urlOf } from './api.ts';
import type { Operation } from './document.ts';
import { type Call, program } from './programs.ts';

interface Request {
  operation: Operation;
  values: Readonly<Record<string, string>>;
  /** The body as it is typed. */
  text: string;
}

/** The request below as a program, in one of three languages. */
export function Programs(request: Request) {
  const said = useSignal('');
  const { id } = request.operation;
  const code = codeOf(request);
  return (
    <>
      <fieldset class="modes">
        <legend class="sr">Language of the example</legend>
        {languages.map((one) => (
          <label key={one}>
            <input
              type="radio"
              name={`language-${id}`}
              checked={language.value === one}
              onChange={() => {
                language.value = one;
                said.value = '';
              }}
            />
            {one}
          </label>
        ))}
      </fieldset>
      <pre
        role="group"
        tabIndex={0}
        aria-label={`${request.operation.method} ${request.operation.path} in ${language.value}`}
      >
        {code}
      </pre>
      <p class="actions">
        <button
          type="button"
          onClick={async () => {
            said.value = (await copyText(code))
              ? 'Copied.'
              : 'This browser only allows copying over HTTPS or on localhost: select the text above and copy it.';
          }}
        >
          Copy
        </button>
        <span role="status">{said.value}</span>
      </p>
    </>
  );
}

function codeOf({ operation, values, text }: Request): string {
  const { method, path, body, lock } = operation;
  const call: Call = {
    method,
    path,
    base: baseUrl(),
    url: urlOf(operation, values),
    secret: lock === 'admin' ? 'admin' : lock === 'key' && keyWanted.value ? 'key' : 'none',
    isBinary: isBinary(operation),
    ...(body && { body: parsed(text) ?? body.examples[0]?.value }),
  };
  return program(language.value, call);
}

/** Undefined of what is not JSON, as while it is being typed. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
