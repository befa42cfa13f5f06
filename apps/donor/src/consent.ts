import type { Device } from './device.ts';

const STORAGE_KEY = 'shoal.lending';
const LOCAL_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]']);

export interface Consent {
  device: Device;
  pledgeBytes: number;
  /** A donor who paused and reloads has not asked for work to begin. */
  paused: boolean;
}

interface ConsentEnvironment {
  storage: Storage;
  location: Location;
  /** Set by browsers that a program drives, never by a person's. */
  webdriver: boolean;
  navigationType: string | undefined;
}

/**
 * Whether the button counts as pressed when the page opens. A page never starts by itself, with two exceptions:
 * - a *reload* of a tab that was lending goes on lending: the click was for this tab. A duplicated tab or a fresh visit,
 *   which may inherit the same storage, wants its own click;
 * - `?auto=1&pledge=<MiB>&device=<gpu|cpu>` on this very machine, in a browser that is driven by a program. The demo and the tests open
 *   their own tabs so. Neither a link that somebody sends nor a page that somebody visits can meet both conditions.
 */
export function standingConsent(environment: ConsentEnvironment): Consent | undefined {
  const { storage, location, webdriver, navigationType } = environment;
  if (navigationType === 'reload') {
    const remembered = readConsent(storage);
    if (remembered) return remembered;
  }
  const parameters = new URLSearchParams(location.search);
  if (parameters.get('auto') !== '1' || !webdriver || !LOCAL_HOSTS.has(location.hostname)) return undefined;
  const pledgeMib = Number(parameters.get('pledge')) || DEFAULT_AUTO_MIB;
  const device = parameters.get('device') === 'cpu' ? 'cpu' : 'gpu';
  return { device, pledgeBytes: Math.max(1, Math.floor(pledgeMib)) * 2 ** 20, paused: false };
}
const DEFAULT_AUTO_MIB = 512;

export function rememberConsent(storage: Storage, consent: Consent): void {
  storage.setItem(STORAGE_KEY, JSON.stringify(consent));
}

export function withdrawConsent(storage: Storage): void {
  storage.removeItem(STORAGE_KEY);
}

function readConsent(storage: Storage): Consent | undefined {
  try {
    const { device, pledgeBytes, paused } = JSON.parse(storage.getItem(STORAGE_KEY) ?? '{}') as Partial<Consent>;
    if (typeof pledgeBytes !== 'number' || !(pledgeBytes >= 2 ** 20)) return undefined;
    return { device: device === 'cpu' ? 'cpu' : 'gpu', pledgeBytes, paused: paused === true };
  } catch {
    return undefined;
  }
}
