import { effect, type Signal, signal } from '@preact/signals';
import { link } from '../connection.ts';
import { askAdmin, wordsOf } from './admin-api.ts';

/** What there is at an address under /admin. */
export interface AdminView<View> {
  /** As the coordinator last told it; null before. */
  view: Signal<View | null>;
  /** Why it could not be read the last time. */
  fault: Signal<string | null>;
  read(): Promise<void>;
}

/** Reads what there is at an address under /admin; it is forgotten when the admin signs out. */
export function adminView<View>(path: string): AdminView<View> {
  const view = signal<View | null>(null);
  const fault = signal<string | null>(null);
  forgetAtSignOut(view, fault);
  const read = async (): Promise<void> => {
    try {
      view.value = await askAdmin<View>('GET', path);
      fault.value = null;
    } catch (error) {
      fault.value = wordsOf(error);
    }
  };
  return { view, fault, read };
}

/** Makes them null when the admin signs out. */
export function forgetAtSignOut(...kept: { value: unknown }[]): void {
  effect(() => {
    if (link.value.state !== 'signed-out') return;
    for (const one of kept) one.value = null;
  });
}
