import { useSignal } from '@preact/signals';
import { copyText } from '../environment.ts';
import type { CompletionBody } from './parameters.ts';
import { type Language, languages, snippet } from './snippets.ts';

/** The request as code to copy. */
export function Snippets({ body, withKey }: { body: CompletionBody; withKey: boolean }) {
  const shown = useSignal<Language | null>(null);
  const said = useSignal('');
  const copy = async (language: Language): Promise<void> => {
    shown.value = language;
    const copied = await copyText(snippet(language, location.origin, body, withKey));
    said.value = copied
      ? `Copied as ${language}.`
      : 'This browser only allows copying over HTTPS or on localhost: select the text below and copy it.';
  };
  return (
    <section class="card" aria-labelledby="snippets-title">
      <h2 id="snippets-title">Call it yourself</h2>
      <p class="actions">
        {languages.map((language) => (
          <button type="button" onClick={() => void copy(language)}>
            Copy as {language}
          </button>
        ))}
        <span role="status">{said.value}</span>
      </p>
      {shown.value && (
        <pre role="group" tabIndex={0} aria-label={`The request in ${shown.value}`}>
          {snippet(shown.value, location.origin, body, withKey)}
        </pre>
      )}
    </section>
  );
}
