export { SETTING_NAMES, type SettingName, settingChangesSchema, type SettingValues } from './entries.ts';
export { type SettingChange, Settings, SettingsError } from './settings.ts';
export { StoredSettings } from './stored-settings.ts';
