import { effect, type Signal, signal } from '@preact/signals';
import { tabStorage } from '../tab-storage.ts';

/** Longest form or conversation that is kept over a reload, in characters. */
export const MAX_KEPT_CHARS = 256 * 1024;
const KEEP_AFTER_MS = 300;

/** Text fields with what is wrong with each of them. */
export interface Form<Name extends string> {
  values: Signal<Record<Name, string>>;
  faults: Signal<Partial<Record<Name, string>>>;
}

export function makeForm<Name extends string>(key: string, initial: Record<Name, string>): Form<Name> {
  const values = kept(key, initial, (value) => {
    const known = Object.entries(value as object).filter(([name, text]) => name in initial && typeof text === 'string');
    return { ...initial, ...Object.fromEntries(known) };
  });
  return { values, faults: signal({}) };
}

export function setField<Name extends string>({ values, faults }: Form<Name>, name: Name, value: string): void {
  values.value = { ...values.value, [name]: value };
  // What was wrong with the old text may be right now; the next request tells.
  if (faults.value[name] !== undefined) {
    const { [name]: _, ...others } = faults.value;
    faults.value = others as Partial<Record<Name, string>>;
  }
}

/** The properties that bind an input, textarea or select to a field. */
export function fieldOf<Name extends string>(form: Form<Name>, name: Name, fault = form.faults.value[name]) {
  return {
    id: `field-${name}`,
    value: form.values.value[name],
    'aria-invalid': fault ? true : undefined,
    'aria-describedby': fault ? `error-${name}` : undefined,
    onInput: (event: { currentTarget: HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement }) =>
      setField(form, name, event.currentTarget.value),
  };
}

/** Moves the focus once the page shows the present state. */
export function focusSoon(id: string): void {
  requestAnimationFrame(() => document.getElementById(id)?.focus());
}

/**
 * A value that survives a reload but not the tab, as the API key does: conversations are nobody else's business on a shared
 * computer. `read` makes a value of what was stored, and may throw. Larger values stay in memory only.
 */
export function kept<T>(key: string, initial: T, read: (stored: unknown) => T): Signal<T> {
  const value = signal(stored(key, initial, read));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const keep = (): void => {
    const text = JSON.stringify(value.peek());
    if (value.peek() === initial || text.length > MAX_KEPT_CHARS) tabStorage.removeItem(key);
    else tabStorage.setItem(key, text);
  };
  effect(() => {
    void value.value;
    clearTimeout(timer);
    timer = setTimeout(keep, KEEP_AFTER_MS);
  });
  addEventListener('pagehide', keep);
  return value;
}

function stored<T>(key: string, initial: T, read: (stored: unknown) => T): T {
  try {
    const text = tabStorage.getItem(key);
    return text === null ? initial : read(JSON.parse(text));
  } catch {
    return initial;
  }
}
