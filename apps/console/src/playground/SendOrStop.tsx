import type { ComponentChildren } from 'preact';

/** The form's main button, and Stop in its place while an answer comes. */
export function SendOrStop(props: { word: string; running: boolean; stop: () => void; children?: ComponentChildren }) {
  return (
    <p class="actions">
      {/* Keys, since a reused element would become a submit button during the click that stops. */}
      {props.running ? (
        <button key="stop" type="button" class="primary" onClick={props.stop}>
          Stop
        </button>
      ) : (
        <button key="send" type="submit" class="primary">
          {props.word}
        </button>
      )}
      <span class="muted">or press Ctrl + Enter</span>
      {props.children}
    </p>
  );
}
