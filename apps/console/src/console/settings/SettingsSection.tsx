import { useSignal } from '@preact/signals';
import type { SettingView } from '@shoal/protocol';
import { useEffect, useId } from 'preact/hooks';
import { formatDay, formatTime } from '../../format.ts';
import { role, settingsChanges } from '../connection.ts';
import { fieldText, sourceWords, valueOf, valueWords } from './setting-words.ts';
import { changeSetting, fault, lastChange, readSettings, settings } from './settings-state.ts';

/** What operators change while coordinators run. Every change is an event, and holds at all coordinators of the database. */
export function SettingsSection() {
  const changes = settingsChanges.value;
  useEffect(() => void readSettings(), [changes]);
  const view = settings.value;
  const canChange = role.value?.role !== 'viewer' && view?.away === null;
  return (
    <section class="card" id="settings" aria-labelledby="settings-title" tabIndex={-1}>
      <h2 id="settings-title">Settings</h2>
      <p class="muted">
        They take effect at once
        {view && (view.isKept ? ' and outlive a restart' : ', until the coordinator is stopped (it keeps nothing)')}.
        Where an option of the start says something else, the setting holds until it is reset.
      </p>
      <div role="status" class="status-line">
        {fault.value !== null && <p class="trouble">{fault.value}</p>}
        {view !== null && view.away !== null && (
          <p class="trouble">
            The database has been away since {formatTime(view.away)}. Settings hold as they were; none can be changed.
          </p>
        )}
      </div>
      {view === null ? (
        fault.value === null && <p class="muted">Reading the settings…</p>
      ) : (
        <div class="settings">
          {view.settings.map((setting) => (
            <Setting key={setting.name} setting={setting} canChange={canChange && setting.locked === null} />
          ))}
        </div>
      )}
      {role.value?.role === 'viewer' && <p class="muted">An operator can change these.</p>}
    </section>
  );
}

function Setting({ setting, canChange }: { setting: SettingView; canChange: boolean }) {
  const { name, title, help, form, value, changed, locked } = setting;
  const [titleId, helpId] = [useId(), useId()];
  const result = lastChange.value?.name === name ? lastChange.value.result : undefined;
  return (
    <form class="setting" aria-labelledby={titleId} onSubmit={(event) => event.preventDefault()} data-setting={name}>
      <div>
        <h3 id={titleId}>{title}</h3>
        <p class="muted" id={helpId}>
          {help} {sourceWords(setting, changed ? formatDay(changed.at) : '')}
          {locked !== null && ` It can’t be changed here: ${locked}.`}
        </p>
      </div>
      <div class="setting-value">
        {canChange ? (
          <Field
            // A value that was changed elsewhere takes the place of what the field had.
            key={String(value)}
            setting={setting}
            labels={{ 'aria-labelledby': titleId, 'aria-describedby': helpId }}
          />
        ) : (
          <span class="big-word">{value === null ? 'set; operators see it' : valueWords(form, value)}</span>
        )}
        {canChange && changed !== null && (
          <button
            type="button"
            class="quiet"
            aria-label={`Reset to ${valueWords(form, setting.default)}: ${title}`}
            onClick={() => void changeSetting(name, null, `${title} has its default again.`)}
          >
            Reset to {valueWords(form, setting.default)}
          </button>
        )}
        <p role="status" class={result && !result.ok ? 'trouble' : 'muted'}>
          {result?.text}
        </p>
      </div>
    </form>
  );
}

interface FieldProps {
  setting: SettingView;
  labels: { 'aria-labelledby': string; 'aria-describedby': string };
}

function Field({ setting, labels }: FieldProps) {
  const { name, title, form, value } = setting;
  const before = fieldText(form, value);
  const text = useSignal(before);
  const busy = useSignal(false);
  const onInput = (event: { currentTarget: { value: string } }): void => {
    text.value = event.currentTarget.value;
  };
  if (form.kind === 'switch') {
    const turn = (on: boolean): Promise<boolean> => changeSetting(name, on, `${title} is ${on ? 'on' : 'off'}.`);
    return (
      <input
        type="checkbox"
        role="switch"
        checked={value === true}
        {...labels}
        onChange={(event) => void turn(event.currentTarget.checked)}
      />
    );
  }
  const save = async (): Promise<void> => {
    const asked = valueOf(form, text.value);
    if (asked === undefined) return;
    busy.value = true;
    await changeSetting(name, asked, `${title} was changed.`);
    busy.value = false;
  };
  const isNumber = form.kind === 'whole' || form.kind === 'share';
  const scale = form.kind === 'share' ? 100 : 1;
  return (
    <>
      {form.kind === 'long-text' ? (
        <textarea rows={3} maxLength={form.mostChars} value={text.value} {...labels} onInput={onInput} />
      ) : isNumber ? (
        <span>
          <input
            type="number"
            min={form.least * scale}
            max={form.most * scale}
            step={form.kind === 'share' ? 'any' : 1}
            required
            value={text.value}
            {...labels}
            onInput={onInput}
          />
          {form.kind === 'share' && ' %'}
        </span>
      ) : (
        <input
          type="text"
          maxLength={form.mostChars}
          autocomplete="off"
          value={text.value}
          {...labels}
          onInput={onInput}
        />
      )}
      <button
        type="submit"
        disabled={busy.value || text.value === before}
        aria-label={`Save ${title}`}
        onClick={(event) => {
          if (event.currentTarget.form?.reportValidity()) void save();
        }}
      >
        Save
      </button>
    </>
  );
}
