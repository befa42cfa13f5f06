import { useState } from 'preact/hooks';
import type { LimitsKeeper } from '../limits/limits-keeper.ts';
import { MIN_TRAFFIC_BYTES, USUAL_HOURS, type Hours, type LimitSettings } from '../limits/settings.ts';
import { DAY_NAMES, minuteText } from '../limits/words.ts';

interface LimitsFormProps {
  limits: LimitsKeeper;
}

const SHARES = [100, 75, 50, 25, 10, 5];
const GB = 1e9;

/** Limits besides memory. Each change holds at once, in all tabs of the browser. */
export function LimitsForm({ limits }: LimitsFormProps) {
  const { settings } = limits.state.value;
  const change = (part: Partial<LimitSettings>) => limits.change({ ...settings, ...part });
  return (
    <div class="limits-form">
      <label class="limit">
        <span>Work at most</span>
        <select
          name="share"
          value={settings.sharePercent}
          onChange={({ currentTarget }) => change({ sharePercent: Number(currentTarget.value) })}
        >
          {[...new Set([...SHARES, settings.sharePercent])]
            .sort((a, b) => b - a)
            .map((percent) => (
              <option key={percent} value={percent}>
                {percent === 100 ? 'all of the time' : `${percent} % of the time`}
              </option>
            ))}
        </select>
      </label>
      <Traffic
        name="day"
        label="Traffic a day"
        bytes={settings.dayBytes}
        onChange={(dayBytes) => change({ dayBytes })}
      />
      <Traffic
        name="month"
        label="Traffic a month"
        bytes={settings.monthBytes}
        onChange={(monthBytes) => change({ monthBytes })}
      />
      <HoursChoice hours={settings.hours} onChange={(hours) => change({ hours })} />
      <Power settings={settings} tells={limits.sensors.tellsBattery} onChange={change} />
      <IdleChoice limits={limits} onChange={(whileIdle) => change({ whileIdle })} />
      <Check
        name="makes-way"
        checked={settings.makesWay}
        onChange={(makesWay) => change({ makesWay })}
        label="Pause when another program seems to need the GPU"
      />
      {!limits.isKept && <p class="note">This browser keeps nothing for the page: limits last for this visit only.</p>}
    </div>
  );
}

function Check(props: { name: string; checked: boolean; label: string; onChange: (checked: boolean) => void }) {
  const { name, checked, label, onChange } = props;
  return (
    <label class="check">
      <input
        type="checkbox"
        name={name}
        checked={checked}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <span>{label}</span>
    </label>
  );
}

interface TrafficProps {
  name: string;
  label: string;
  bytes: number | undefined;
  onChange: (bytes: number | undefined) => void;
}

function Traffic({ name, label, bytes, onChange }: TrafficProps) {
  return (
    <label class="limit">
      <span>{label}</span>
      <span class="amount">
        <input
          type="number"
          name={`traffic-${name}`}
          min={MIN_TRAFFIC_BYTES / GB}
          step="any"
          inputMode="decimal"
          placeholder="no limit"
          value={bytes === undefined ? '' : bytes / GB}
          onChange={({ currentTarget }) => {
            const wanted = currentTarget.valueAsNumber;
            onChange(wanted > 0 ? Math.max(MIN_TRAFFIC_BYTES, wanted * GB) : undefined);
          }}
        />
        GB
      </span>
    </label>
  );
}

function HoursChoice({ hours, onChange }: { hours: Hours | undefined; onChange: (hours: Hours | undefined) => void }) {
  return (
    <fieldset class="hours">
      <legend>When</legend>
      <Check
        name="hours"
        checked={hours !== undefined}
        label="Only at certain hours"
        onChange={(checked) => onChange(checked ? USUAL_HOURS : undefined)}
      />
      {hours && (
        <>
          <div class="times">
            <Time
              name="from"
              label="from"
              minute={hours.fromMinute}
              onChange={(fromMinute) => onChange({ ...hours, fromMinute })}
            />
            <Time
              name="to"
              label="to"
              minute={hours.toMinute}
              onChange={(toMinute) => onChange({ ...hours, toMinute })}
            />
          </div>
          <div class="days" role="group" aria-label="Days on which it begins">
            {DAY_NAMES.map((name, day) => (
              <Check
                key={name}
                name={`day-${name}`}
                checked={hours.days[day]!}
                label={name}
                onChange={(checked) => onChange({ ...hours, days: hours.days.with(day, checked) })}
              />
            ))}
          </div>
          <p class="hint">By this computer’s clock. The days are those on which lending begins.</p>
        </>
      )}
    </fieldset>
  );
}

function Time(props: { name: string; label: string; minute: number; onChange: (minute: number) => void }) {
  const { name, label, minute, onChange } = props;
  return (
    <label>
      <span>{label}</span>
      <input
        type="time"
        name={`hours-${name}`}
        required
        value={minuteText(minute)}
        onChange={({ currentTarget }) => {
          const [hour, minutes] = currentTarget.value.split(':').map(Number);
          if (hour !== undefined && minutes !== undefined) onChange(hour * 60 + minutes);
        }}
      />
    </label>
  );
}

interface PowerProps {
  settings: LimitSettings;
  tells: boolean;
  onChange: (part: Partial<LimitSettings>) => void;
}

/** As one choice, since the two limits are about the same. */
function Power({ settings: { onMains, aboveBatteryPercent }, tells, onChange }: PowerProps) {
  const value = onMains ? 'mains' : String(aboveBatteryPercent ?? 'any');
  const levels = [...new Set([20, 50, 80, aboveBatteryPercent ?? 50])].sort((a, b) => a - b);
  return (
    <label class="limit">
      <span>On battery</span>
      <select
        name="power"
        value={value}
        disabled={!tells}
        onChange={({ currentTarget: { value: chosen } }) => {
          const percent = Number(chosen);
          onChange({ onMains: chosen === 'mains', aboveBatteryPercent: percent > 0 ? percent : undefined });
        }}
      >
        <option value="any">{tells ? 'go on' : 'this browser doesn’t tell'}</option>
        {levels.map((percent) => (
          <option key={percent} value={percent}>
            rest at {percent} % and below
          </option>
        ))}
        <option value="mains">rest</option>
      </select>
    </label>
  );
}

function IdleChoice({ limits, onChange }: { limits: LimitsKeeper; onChange: (whileIdle: boolean) => void }) {
  const [isRefused, setRefused] = useState(false);
  const { sensors } = limits;
  if (!sensors.tellsIdle) return null;
  return (
    <>
      <Check
        name="while-idle"
        checked={limits.state.value.settings.whileIdle}
        label="Only while nobody uses this computer"
        onChange={(checked) => {
          if (!checked) return onChange(false);
          void sensors.askForIdle().then((isGranted) => {
            setRefused(!isGranted);
            onChange(isGranted);
          });
        }}
      />
      {isRefused && <p class="note">The browser didn’t allow this page to know when nobody uses the computer.</p>}
    </>
  );
}
