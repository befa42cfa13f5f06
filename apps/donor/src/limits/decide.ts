import type { RestReason } from '@shoal/protocol';
import type { LimitSettings } from './settings.ts';

/** What the computer is like now. Undefined: the browser doesn't tell. */
export interface Circumstances {
  unixMs: number;
  /** By `settings.hours`, if they are set. */
  hours: { isOpen: boolean; untilMs: number | undefined } | undefined;
  traffic: { dayBytes: number; monthBytes: number; tabs: number };
  /** When the day and the month are over. */
  dayEndsMs: number | undefined;
  monthEndsMs: number | undefined;
  battery: { isCharging: boolean; percent: number } | undefined;
  isInUse: boolean | undefined;
  /** Another program needs the GPU until then, as far as is known. */
  otherProgramUntilMs: number | undefined;
}

export interface Rest {
  why: RestReason;
  /** In milliseconds of Unix; undefined if it isn't known. */
  untilMs: number | undefined;
}

/** What the limits allow now. */
export interface Decision {
  /** 0 (exclusive) to 1. */
  share: number;
  rest: Rest | undefined;
  /** When the next rest is known to begin. */
  restsAtMs: number | undefined;
  /** Bytes that this tab may use of what is left for all. */
  trafficBytes: number | undefined;
}

/** Kept for what is on its way when the limit is reached, and for the messages of a tab that rests. */
const RESERVE = 0.01;

/** Pure: the same arguments give the same decision. */
export function decide(settings: LimitSettings, now: Circumstances): Decision {
  const rests = restsOf(settings, now);
  // Of several reasons, the one that lasts longest. One without a known end is named if there is no other.
  const rest = rests.reduce<Rest | undefined>((a, b) => (a && (a.untilMs ?? 0) >= (b.untilMs ?? 0) ? a : b), undefined);
  return {
    share: settings.sharePercent / 100,
    rest,
    restsAtMs: rest ? undefined : now.hours?.untilMs,
    trafficBytes: leftBytes(settings, now),
  };
}

function restsOf(settings: LimitSettings, now: Circumstances): Rest[] {
  const { hours, traffic, battery } = now;
  const rests: Rest[] = [];
  const add = (applies: boolean, why: RestReason, untilMs?: number): void => {
    if (applies) rests.push({ why, untilMs });
  };
  add(hours?.isOpen === false, 'schedule', hours?.untilMs);
  add(isUsedUp(traffic.dayBytes, settings.dayBytes), 'traffic-day', now.dayEndsMs);
  add(isUsedUp(traffic.monthBytes, settings.monthBytes), 'traffic-month', now.monthEndsMs);
  const onBattery = battery?.isCharging === false;
  add(settings.onMains && onBattery, 'mains');
  const { aboveBatteryPercent } = settings;
  add(aboveBatteryPercent !== undefined && onBattery && battery.percent <= aboveBatteryPercent, 'battery');
  add(settings.whileIdle && now.isInUse === true, 'in-use');
  add(settings.makesWay && now.otherProgramUntilMs !== undefined, 'other-program', now.otherProgramUntilMs);
  return rests;
}

function isUsedUp(usedBytes: number, limitBytes: number | undefined): boolean {
  return limitBytes !== undefined && usedBytes >= usable(limitBytes);
}

const usable = (limitBytes: number): number => limitBytes * (1 - RESERVE);

/** Each open tab may use an equal part of what is left, so that they don't exceed it together before they know of each other's. */
function leftBytes({ dayBytes, monthBytes }: LimitSettings, { traffic }: Circumstances): number | undefined {
  const left = [
    ...(dayBytes === undefined ? [] : [usable(dayBytes) - traffic.dayBytes]),
    ...(monthBytes === undefined ? [] : [usable(monthBytes) - traffic.monthBytes]),
  ];
  return left.length === 0 ? undefined : Math.max(0, Math.floor(Math.min(...left) / traffic.tabs));
}
