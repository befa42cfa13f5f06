import type { PageTexts } from '@shoal/protocol/page';
import type { Device } from './device.ts';
import { MAX_EXCHANGE_MBIT } from './offers.ts';

const STORAGE_KEY = 'shoal.lending';
const LOCAL_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]']);

export interface Consent {
  device: Device;
  pledgeBytes: number;
  /** Kept over a reload, so that a paused tab stays paused. */
  paused: boolean;
  /** Most that is sent to other tabs, in Mbit/s; undefined: no weights are exchanged with them. */
  exchangeMbit?: number | undefined;
}

interface ConsentEnvironment {
  storage: PageTexts;
  location: Location;
  /** `navigator.webdriver`: whether a program drives the browser. */
  webdriver: boolean;
  navigationType: string | undefined;
}

/**
 * Returns the consent that holds without a click when the page opens. There are only two cases:
 * - a *reload* of a tab that was lending, since the click was for this tab. A duplicated tab or a fresh visit, which may inherit
 *   the same storage, needs its own click;
 * - `?auto=1&pledge=<MiB>&device=<gpu|cpu>&exchange=<Mbit/s>` on this machine in a browser driven by a program, for the demo and the tests. No link
 *   or website can meet both conditions.
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
  const exchangeMbit = exchangeOf(Number(parameters.get('exchange') ?? Number.NaN));
  return { device, pledgeBytes: Math.max(1, Math.floor(pledgeMib)) * 2 ** 20, paused: false, exchangeMbit };
}
const DEFAULT_AUTO_MIB = 512;

export function rememberConsent(storage: PageTexts, consent: Consent): void {
  storage.setItem(STORAGE_KEY, JSON.stringify(consent));
}

export function withdrawConsent(storage: PageTexts): void {
  storage.removeItem(STORAGE_KEY);
}

function readConsent(storage: PageTexts): Consent | undefined {
  try {
    const { device, pledgeBytes, paused, exchangeMbit } = JSON.parse(
      storage.getItem(STORAGE_KEY) ?? '{}',
    ) as Partial<Consent>;
    if (typeof pledgeBytes !== 'number' || !(pledgeBytes >= 2 ** 20)) return undefined;
    const exchange = exchangeOf(typeof exchangeMbit === 'number' ? exchangeMbit : Number.NaN);
    return { device: device === 'cpu' ? 'cpu' : 'gpu', pledgeBytes, paused: paused === true, exchangeMbit: exchange };
  } catch {
    return undefined;
  }
}

function exchangeOf(mbit: number): number | undefined {
  return mbit >= 1 && mbit <= MAX_EXCHANGE_MBIT ? mbit : undefined;
}
