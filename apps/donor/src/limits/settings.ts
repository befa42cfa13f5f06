import { MIN_SHARE } from '@shoal/protocol';

/** When a donor lends, by the computer's own clock. `fromMinute` and `toMinute`: minutes of the day, 0 to 1,439. */
export interface Hours {
  /** Monday first: days on which lending begins. */
  days: readonly boolean[];
  fromMinute: number;
  /** Not later than `fromMinute`: on the next day. The same: for a whole day. */
  toMinute: number;
}

/** What a donor allows besides memory, for all tabs of the browser. Undefined: no limit. */
export interface LimitSettings {
  /** Percent of the time that each tab computes, 5 to 100. */
  sharePercent: number;
  /** Traffic of all tabs, in bytes. */
  dayBytes: number | undefined;
  monthBytes: number | undefined;
  hours: Hours | undefined;
  /** Only on mains power. */
  onMains: boolean;
  /** On battery only above this, in percent. */
  aboveBatteryPercent: number | undefined;
  /** Only while nobody uses the computer. */
  whileIdle: boolean;
  /** Pauses while another program needs the GPU. */
  makesWay: boolean;
}

export const UNLIMITED: LimitSettings = {
  sharePercent: 100,
  dayBytes: undefined,
  monthBytes: undefined,
  hours: undefined,
  onMains: false,
  aboveBatteryPercent: undefined,
  whileIdle: false,
  makesWay: false,
};

/** The evening and the night, every day: what a form begins with. */
export const USUAL_HOURS: Hours = { days: Array<boolean>(7).fill(true), fromMinute: 20 * 60, toMinute: 8 * 60 };

/** The browser's, or one that lasts as long as the page where it keeps nothing. */
export type LimitsStorage = Pick<Storage, 'getItem' | 'setItem'>;

export const SETTINGS_KEY = 'shoal.limits';
export const MIN_SHARE_PERCENT = Math.round(100 * MIN_SHARE);
/** Less would be used up by what a tab sends and receives to stay connected. */
export const MIN_TRAFFIC_BYTES = 100e6;
const MAX_TRAFFIC_BYTES = 1e15;

export function readSettings(storage: LimitsStorage): LimitSettings {
  try {
    return parseSettings(JSON.parse(storage.getItem(SETTINGS_KEY) ?? '{}'));
  } catch {
    return UNLIMITED;
  }
}

export function writeSettings(storage: LimitsStorage, settings: LimitSettings): void {
  storage.setItem(SETTINGS_KEY, JSON.stringify(settings));
}

/** What fits of what was stored, perhaps by another version. A limit that cannot be read is not dropped silently: its nearest value holds. */
export function parseSettings(stored: unknown): LimitSettings {
  const { sharePercent, dayBytes, monthBytes, hours, onMains, aboveBatteryPercent, whileIdle, makesWay } = (stored ??
    {}) as Partial<Record<keyof LimitSettings, unknown>>;
  return {
    sharePercent: within(sharePercent, MIN_SHARE_PERCENT, 100) ?? 100,
    dayBytes: within(dayBytes, MIN_TRAFFIC_BYTES, MAX_TRAFFIC_BYTES),
    monthBytes: within(monthBytes, MIN_TRAFFIC_BYTES, MAX_TRAFFIC_BYTES),
    hours: parseHours(hours),
    onMains: onMains === true,
    aboveBatteryPercent: within(aboveBatteryPercent, 1, 99),
    whileIdle: whileIdle === true,
    makesWay: makesWay === true,
  };
}

function parseHours(stored: unknown): Hours | undefined {
  if (typeof stored !== 'object' || stored === null) return undefined;
  const { days, fromMinute, toMinute } = stored as Partial<Record<keyof Hours, unknown>>;
  if (!Array.isArray(days) || days.length !== 7) return undefined;
  return {
    days: days.map((day) => day === true),
    fromMinute: Math.round(within(fromMinute, 0, 1439) ?? 0),
    toMinute: Math.round(within(toMinute, 0, 1439) ?? 0),
  };
}

function within(value: unknown, min: number, max: number): number | undefined {
  if (typeof value !== 'number' || Number.isNaN(value)) return undefined;
  return Math.min(max, Math.max(min, value));
}
