import { EventEmitter } from 'node:events';
import type { SettingsView, SettingValue, SettingView } from '@shoal/protocol';
import {
  entryOf,
  SETTING_NAMES,
  type SettingChanges,
  type SettingName,
  settingChangesSchema,
  type SettingValues,
} from './entries.ts';

/** A value that an operator has chosen. */
export interface Chosen {
  value: SettingValue;
  by: string;
  at: Date;
}
export type ChosenSettings = ReadonlyMap<SettingName, Chosen>;

/** Where chosen values outlive the coordinator, and are the same for all that use the same database. */
export interface SettingsStore {
  /** Since when it has been away, as an ISO time. */
  readonly away: string | null;
  /** Resolves once the change is kept and in force here. Rejects with a SettingsError. */
  write(changes: SettingChanges, by: string): Promise<void>;
}

/** A setting cannot be changed. The message is for an operator, and says what to do. */
export class SettingsError extends Error {
  readonly reason: 'invalid' | 'locked' | 'away';
  /** The setting that it is about. */
  readonly param: string | undefined;
  constructor(reason: SettingsError['reason'], message: string, param?: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'SettingsError';
    this.reason = reason;
    this.param = param;
  }
}

/** What a change did: a setting and its values before and after it, as people read them. */
export interface SettingChange {
  name: SettingName;
  from: string;
  to: string;
}

/** Where a default is from, and what it is now. */
interface Default {
  from: string;
  value: () => SettingValue;
}

/**
 * What operators set while the coordinator runs. `changed`: a setting has another value now. `view`: what admins see of them has
 * changed.
 */
export class Settings extends EventEmitter<{ changed: [name: SettingName]; view: [] }> {
  readonly #defaults = new Map<SettingName, Default>();
  readonly #locks = new Map<SettingName, string>();
  readonly #values = new Map<SettingName, SettingValue>();
  #chosen: ChosenSettings = new Map();
  #store: SettingsStore | undefined;

  /** `defaults`: what options of the start say. */
  constructor(defaults: Partial<SettingValues> = {}) {
    super();
    this.setMaxListeners(0);
    for (const name of SETTING_NAMES) {
      const { option, default: own } = entryOf(name);
      const value = defaults[name] ?? own;
      this.#defaults.set(name, { from: option ?? 'Shoal', value: () => value });
      this.#values.set(name, value);
    }
  }

  /** The value in force. */
  get<Name extends SettingName>(name: Name): SettingValues[Name] {
    return this.#values.get(name) as SettingValues[Name];
  }

  /** What an operator has chosen; undefined while the setting has its default. */
  chosen<Name extends SettingName>(name: Name): SettingValues[Name] | undefined {
    return this.#chosen.get(name)?.value as SettingValues[Name] | undefined;
  }

  /** Calls `apply` with the value now and whenever it changes, until the returned call. */
  follow<Name extends SettingName>(name: Name, apply: (value: SettingValues[Name]) => void): () => void {
    const onChange = (changed: SettingName): void => {
      if (changed === name) apply(this.get(name));
    };
    this.on('changed', onChange);
    apply(this.get(name));
    return () => this.off('changed', onChange);
  }

  /** The default of a setting is said elsewhere; `refresh` is called when it may have changed. */
  useDefault<Name extends SettingName>(name: Name, from: string, value: () => SettingValues[Name]): void {
    this.#defaults.set(name, { from, value });
    this.refresh();
  }

  /** A setting that has no meaning here, or is chosen elsewhere. */
  lock(name: SettingName, why: string): void {
    this.#locks.set(name, why);
  }

  /** Where chosen values are kept; without a store, they are until the coordinator ends. */
  keepIn(store: SettingsStore): void {
    this.#store = store;
  }

  /** Puts what is chosen in force. */
  replace(chosen: ChosenSettings): void {
    this.#chosen = chosen;
    this.refresh();
    this.emit('view');
  }

  /** Takes up defaults that have changed. */
  refresh(): void {
    const changed = SETTING_NAMES.filter((name) => {
      const value = this.#chosen.get(name)?.value ?? this.#defaults.get(name)!.value();
      const isOther = value !== this.#values.get(name);
      this.#values.set(name, value);
      return isOther;
    });
    // After all have their values.
    for (const name of changed) this.emit('changed', name);
  }

  /**
   * Changes settings by name; null is the default. Returns what that did. Rejects with a SettingsError, and then nothing has
   * changed.
   */
  async change(given: unknown, by: string): Promise<SettingChange[]> {
    const changes = checked(given);
    const names = Object.keys(changes) as SettingName[];
    for (const name of names) {
      const why = this.#locks.get(name);
      if (why !== undefined && changes[name] !== null) throw new SettingsError('locked', `${name}: ${why}`, name);
    }
    const before = new Map(names.map((name) => [name, this.#words(name)]));
    if (this.#store) await this.#store.write(changes, by);
    else this.replace(withChanges(this.#chosen, changes, by));
    return names
      .map((name) => ({ name, from: before.get(name)!, to: this.#words(name) }))
      .filter(({ from, to }) => from !== to);
  }

  /** `isOperator`: whether secrets may be seen. */
  view(isOperator: boolean): SettingsView {
    const settings = SETTING_NAMES.map((name): SettingView => {
      const { title, help, form, isSecret } = entryOf(name);
      const { from, value } = this.#defaults.get(name)!;
      const chosen = this.#chosen.get(name);
      const isHidden = isSecret === true && !isOperator && this.get(name) !== '';
      return {
        name,
        title,
        help,
        form,
        value: isHidden ? null : this.get(name),
        default: value(),
        defaultFrom: from,
        changed: chosen ? { by: chosen.by, at: chosen.at.toISOString() } : null,
        locked: this.#locks.get(name) ?? null,
      };
    });
    return { settings, isKept: this.#store !== undefined, away: this.#store?.away ?? null };
  }

  /** Sentences for the start: which settings differ from what the options say. */
  overrides(): string[] {
    return [...this.#chosen.keys()].flatMap((name) => {
      const { from, value } = this.#defaults.get(name)!;
      if (from === 'Shoal' || value() === this.get(name)) return [];
      const { by, at } = this.#chosen.get(name)!;
      const when = at.toISOString().slice(0, 10);
      return `${name} is ${this.#words(name)} as ${by} set it on ${when}; ${from} says ${words(value())}`;
    });
  }

  #words(name: SettingName): string {
    const value = this.get(name);
    if (entryOf(name).isSecret && value !== '') return 'a value of its own';
    return this.#chosen.has(name) ? words(value) : `${words(value)} (the default)`;
  }
}

function words(value: SettingValue): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return typeof value === 'number' ? String(value) : JSON.stringify(value);
}

/** Chosen settings after a change that is known to be valid. */
export function withChanges(before: ChosenSettings, changes: SettingChanges, by: string): ChosenSettings {
  const chosen = new Map(before);
  for (const [name, value] of Object.entries(changes) as [SettingName, SettingValue | null][]) {
    if (value === null) chosen.delete(name);
    else chosen.set(name, { value, by, at: new Date() });
  }
  return chosen;
}

/** A change that a client asks for. Throws a SettingsError that names the setting. */
function checked(given: unknown): SettingChanges {
  const result = settingChangesSchema.safeParse(given);
  if (result.success) return withoutUndefined(result.data);
  const [issue] = result.error.issues;
  if (issue?.code === 'unrecognized_keys') {
    const [name] = issue.keys;
    const message = `There is no setting "${name}". There are ${SETTING_NAMES.join(', ')}.`;
    throw new SettingsError('invalid', message, name);
  }
  const name = issue?.path[0];
  if (typeof name !== 'string') throw new SettingsError('invalid', 'Settings are an object of values by name.');
  throw new SettingsError('invalid', `${name} ${issue!.message}; null takes it back to its default.`, name);
}

function withoutUndefined(changes: SettingChanges): SettingChanges {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}
