import { useSignal } from '@preact/signals';
import { here } from '../../here.ts';
import { copyText } from '../../environment.ts';
import { type Call, type Language, languages, snippet } from './snippet.ts';

/** The request as code to copy, or why there is none. */
export function Snippets({ call, missing }: { call: Omit<Call, 'origin'> | null; missing: string }) {
  const shown = useSignal<Language | null>(null);
  const said = useSignal('');
  const code = (language: Language): string => (call ? snippet(language, { ...call, origin: here.slice(0, -1) }) : '');
  const copy = async (language: Language): Promise<void> => {
    shown.value = language;
    const copied = await copyText(code(language));
    said.value = copied
      ? `Copied as ${language}.`
      : 'This browser only allows copying over HTTPS or on localhost: select the text below and copy it.';
  };
  return (
    <section class="card" aria-labelledby="snippets-title">
      <h2 id="snippets-title">Call it yourself</h2>
      <p class="actions">
        {languages.map((language) => (
          <button type="button" disabled={!call} onClick={() => void copy(language)}>
            Copy as {language}
          </button>
        ))}
        <span role="status">{call ? said.value : missing}</span>
      </p>
      {call && shown.value && (
        <pre role="group" tabIndex={0} aria-label={`The request in ${shown.value}`}>
          {code(shown.value)}
        </pre>
      )}
    </section>
  );
}
