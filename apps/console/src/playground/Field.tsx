import type { ComponentChildren } from 'preact';

/** What is wrong with a field, where `fieldOf` says that it stands. */
export function Complaint({ name, fault }: { name: string; fault: string | undefined }) {
  if (!fault) return null;
  return (
    <span class="trouble complaint" id={`error-${name}`}>
      {fault}
    </span>
  );
}

/** A label, its field, and what is wrong with it. */
export function Labelled(props: {
  name: string;
  label: string;
  fault: string | undefined;
  class?: string;
  children: ComponentChildren;
}) {
  return (
    <div class={props.class}>
      <label for={`field-${props.name}`}>{props.label}</label>
      {props.children}
      <Complaint name={props.name} fault={props.fault} />
    </div>
  );
}
