import type { ComponentChildren, RefObject } from 'preact';
import { useId } from 'preact/hooks';

/** Asks before something that cannot be taken back; `dialog.current.showModal()` opens it. */
export function ConfirmDialog(props: {
  dialog: RefObject<HTMLDialogElement | null>;
  title: string;
  /** The word on the button. */
  action: string;
  onConfirm: () => void;
  /** What else is asked before. */
  fields?: ComponentChildren;
  children: ComponentChildren;
}) {
  const { dialog, title, action, onConfirm, fields, children } = props;
  const titleId = useId();
  return (
    <dialog ref={dialog} aria-labelledby={titleId}>
      <h3 id={titleId}>{title}</h3>
      <p>{children}</p>
      {fields && <div class="dialog-fields">{fields}</div>}
      <p class="actions">
        <button
          type="button"
          class="danger"
          onClick={() => {
            dialog.current?.close();
            onConfirm();
          }}
        >
          {action}
        </button>
        <button type="button" onClick={() => dialog.current?.close()}>
          Keep
        </button>
      </p>
    </dialog>
  );
}
