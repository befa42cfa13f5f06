import { effect, signal } from '@preact/signals';
import type { SettingsView, SettingValue } from '@shoal/protocol';
import { askAdmin, Refused } from '../access/admin-api.ts';
import type { Result } from '../adapter-words.ts';
import { link } from '../connection.ts';

/** As the coordinator last told it; null before. */
export const settings = signal<SettingsView | null>(null);
/** Why they could not be read the last time. */
export const fault = signal<string | null>(null);
/** What came of the last change, by setting. */
export const results = signal<Readonly<Record<string, Result>>>({});

const wordsOf = (error: unknown): string => (error instanceof Refused ? error.message : String(error));

export async function readSettings(): Promise<void> {
  try {
    settings.value = await askAdmin<SettingsView>('GET', 'settings');
    fault.value = null;
  } catch (error) {
    fault.value = wordsOf(error);
  }
}

/** Changes a setting; null is its default. Returns whether that was done; `results` says why not. */
export async function changeSetting(name: string, value: SettingValue | null, said: string): Promise<boolean> {
  try {
    settings.value = await askAdmin<SettingsView>('PATCH', 'settings', { [name]: value });
    results.value = { [name]: { ok: true, text: said } };
    return true;
  } catch (error) {
    results.value = { [name]: { ok: false, text: wordsOf(error) } };
    return false;
  }
}

effect(() => {
  if (link.value.state !== 'signed-out') return;
  settings.value = null;
  fault.value = null;
  results.value = {};
});
