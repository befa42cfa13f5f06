/**
 * Settings that operators change while coordinators run (`GET` and `PATCH /admin/settings`). A change is an object of values by
 * name; null takes a setting back to its default.
 */

/** How a setting is asked for. */
export type SettingForm =
  | { kind: 'switch' }
  | { kind: 'whole'; least: number; most: number }
  /** A number from `least` to `most` that is shown in percent, as 0.02 for 2 %. */
  | { kind: 'share'; least: number; most: number }
  | { kind: 'text'; mostChars: number }
  | { kind: 'long-text'; mostChars: number };

export type SettingValue = string | number | boolean;

export interface SettingView {
  name: string;
  title: string;
  /** One sentence about what it does. */
  help: string;
  form: SettingForm;
  /** In force. Null: it is set, and only operators may see it. */
  value: SettingValue | null;
  default: SettingValue;
  /** Where the default is from: an option of the start, the rules of access, or Shoal. */
  defaultFrom: string;
  /** Who changed it and when (ISO time); null while it has its default. */
  changed: { by: string; at: string } | null;
  /** Why it cannot be changed here; null if it can. */
  locked: string | null;
}

export interface SettingsView {
  settings: SettingView[];
  /** Whether changes outlive the coordinator. */
  isKept: boolean;
  /** Since when the database has been away, as an ISO time; nothing can be changed meanwhile. */
  away: string | null;
}
