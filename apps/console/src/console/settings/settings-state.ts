import { signal } from '@preact/signals';
import type { SettingsView, SettingValue } from '@shoal/protocol';
import { askAdmin, attempt } from '../access/admin-api.ts';
import { adminView, forgetAtSignOut } from '../access/admin-view.ts';
import type { Result } from '../adapter-words.ts';

export const { view: settings, fault, read: readSettings } = adminView<SettingsView>('settings');
/** What came of the last change, and of which setting. */
export const lastChange = signal<{ name: string; result: Result } | null>(null);
forgetAtSignOut(lastChange);

/** Changes a setting; null is its default. Returns whether that was done; `lastChange` says why not. */
export async function changeSetting(name: string, value: SettingValue | null, said: string): Promise<boolean> {
  const result = await attempt(async () => {
    settings.value = await askAdmin<SettingsView>('PATCH', 'settings', { [name]: value });
    return said;
  });
  lastChange.value = { name, result };
  return result.ok;
}
