import type { RestReason } from '@shoal/protocol';
import { formatBytes } from '../format.ts';
import type { Rest } from './decide.ts';
import type { LimitsState } from './limits-keeper.ts';
import type { Sensors } from './sensors.ts';
import type { Hours } from './settings.ts';

const REASONS: Readonly<Record<RestReason, string>> = {
  schedule: 'You lend at other hours.',
  'traffic-day': 'Today’s traffic is used up.',
  'traffic-month': 'This month’s traffic is used up.',
  mains: 'The computer runs on battery.',
  battery: 'The battery is low.',
  'in-use': 'You are using the computer.',
  'other-program': 'Another program seems to need the GPU.',
};

/** `Resting until 22:00` */
export function restHeadline(rest: Rest, unixMs: number): string {
  return rest.untilMs === undefined ? 'Resting' : `Resting until ${clockText(rest.untilMs, unixMs)}`;
}

/** `You lend at other hours.` */
export function restReason({ why }: Rest): string {
  return REASONS[why];
}

/** Why it rests, and what follows. */
export function restText({ why, untilMs }: Rest): string {
  const next = untilMs === undefined ? 'It goes on by itself as soon as it may.' : 'It goes on by itself.';
  return `${REASONS[why]} Nothing is computed or downloaded meanwhile. ${next}`;
}

/** `22:00`, `tomorrow at 08:00`, `Friday at 08:00`, `1 December` */
export function clockText(atMs: number, unixMs: number): string {
  const at = new Date(atMs);
  const time = at.toLocaleTimeString('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
  const daysLater = Math.round((midnight(atMs) - midnight(unixMs)) / 86_400_000);
  if (daysLater === 0) return time;
  if (daysLater > 6) return at.toLocaleDateString('en', { day: 'numeric', month: 'long' });
  return `${daysLater === 1 ? 'tomorrow' : at.toLocaleDateString('en', { weekday: 'long' })} at ${time}`;
}

const midnight = (ms: number): number => new Date(ms).setHours(0, 0, 0, 0);

/** `20:00` */
export function minuteText(minute: number): string {
  return `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`;
}

export const DAY_NAMES = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;

export function hoursText({ days, fromMinute, toMinute }: Hours): string {
  const names = DAY_NAMES.filter((_, day) => days[day]);
  if (names.length === 0) return 'on no day';
  const on = names.length === 7 ? 'every day' : names.join(', ');
  return fromMinute === toMinute ? on : `${on}, ${minuteText(fromMinute)} to ${minuteText(toMinute)}`;
}

/** Each limit that is set, with its present state. */
export function limitLines({ settings, circumstances }: LimitsState, sensors: Sensors): string[] {
  const { sharePercent, dayBytes, monthBytes, hours, onMains, aboveBatteryPercent, whileIdle, makesWay } = settings;
  const { unixMs, traffic, battery, isInUse } = circumstances;
  const lines: string[] = [];
  if (sharePercent < 100) lines.push(`Works ${sharePercent} % of the time at most`);
  if (dayBytes !== undefined) lines.push(`Used ${usedText(traffic.dayBytes, dayBytes)} today`);
  if (monthBytes !== undefined) lines.push(`Used ${usedText(traffic.monthBytes, monthBytes)} this month`);
  if (hours) {
    const { isOpen = true, untilMs } = circumstances.hours ?? {};
    const until = untilMs === undefined ? '' : ` until ${clockText(untilMs, unixMs)}`;
    lines.push(`${isOpen ? 'Lends' : 'Rests'}${until} (${hoursText(hours)})`);
  }
  if (onMains || aboveBatteryPercent !== undefined) {
    const wanted = onMains ? 'Only on mains power' : `On battery only above ${aboveBatteryPercent} %`;
    lines.push(`${wanted}: ${batteryText(battery, sensors)}`);
  }
  if (whileIdle) lines.push(`Only while you aren’t using the computer: ${idleText(isInUse, sensors)}`);
  if (makesWay) {
    const untilMs = circumstances.otherProgramUntilMs;
    const now = untilMs === undefined ? 'none is noticed' : `resting until ${clockText(untilMs, unixMs)}`;
    lines.push(`Makes way for other programs that need the GPU: ${now}`);
  }
  return lines;
}

/** `3.1 GB of 5 GB` */
const usedText = (usedBytes: number, limitBytes: number): string =>
  `${formatBytes(usedBytes)} of ${formatBytes(limitBytes)}`;

function batteryText(battery: LimitsState['circumstances']['battery'], { tellsBattery }: Sensors): string {
  if (!tellsBattery) return 'this browser doesn’t tell, so it has no effect';
  if (battery === undefined) return 'not known yet';
  return battery.isCharging ? 'plugged in' : `on battery, at ${Math.round(battery.percent)} %`;
}

function idleText(isInUse: boolean | undefined, { tellsIdle }: Sensors): string {
  if (!tellsIdle) return 'this browser doesn’t tell, so it has no effect';
  if (isInUse === undefined) return 'the browser hasn’t allowed the page to know, so it has no effect';
  return isInUse ? 'you are using it' : 'nobody is using it';
}
