/** What browsers tell of the computer, as far as they do. */
export interface Sensors {
  /** Whether this browser can tell at all. */
  readonly tellsBattery: boolean;
  readonly tellsIdle: boolean;
  battery(): { isCharging: boolean; percent: number } | undefined;
  isInUse(): boolean | undefined;
  /** Asks the donor to let the page know when the computer is idle; to be called in a click. False if it may not. */
  askForIdle(): Promise<boolean>;
  /** Starts what the settings need. Calls `onChange` when something has changed. */
  watch(needs: { battery: boolean; idle: boolean }, onChange: () => void): void;
}

/** Where nothing is told. */
export const NO_SENSORS: Sensors = {
  tellsBattery: false,
  tellsIdle: false,
  battery: () => undefined,
  isInUse: () => undefined,
  askForIdle: () => Promise.resolve(false),
  watch: () => {},
};

/** https://w3c.github.io/battery/ */
interface BatteryManager extends EventTarget {
  charging: boolean;
  level: number;
}

/** https://wicg.github.io/idle-detection/ */
interface IdleDetector extends EventTarget {
  userState: 'active' | 'idle' | null;
  screenState: 'locked' | 'unlocked' | null;
  start(options: { threshold: number }): Promise<void>;
}
interface IdleDetectorClass {
  new (): IdleDetector;
  requestPermission(): Promise<'granted' | 'denied'>;
}

/** The least that browsers allow. */
const IDLE_AFTER_MS = 60_000;

export class BrowserSensors implements Sensors {
  readonly #getBattery: (() => Promise<BatteryManager>) | undefined;
  readonly #idleDetector: IdleDetectorClass | undefined;
  #battery: BatteryManager | undefined;
  #idle: IdleDetector | undefined;
  #watched = { battery: false, idle: false };

  constructor(scope: typeof globalThis) {
    const { navigator } = scope as unknown as { navigator: { getBattery?: () => Promise<BatteryManager> } };
    this.#getBattery = navigator.getBattery?.bind(navigator);
    this.#idleDetector = (scope as { IdleDetector?: IdleDetectorClass }).IdleDetector;
  }

  get tellsBattery(): boolean {
    return this.#getBattery !== undefined;
  }

  get tellsIdle(): boolean {
    return this.#idleDetector !== undefined;
  }

  battery(): { isCharging: boolean; percent: number } | undefined {
    return this.#battery && { isCharging: this.#battery.charging, percent: 100 * this.#battery.level };
  }

  isInUse(): boolean | undefined {
    if (!this.#idle || this.#idle.userState === null) return undefined;
    return this.#idle.userState === 'active' && this.#idle.screenState !== 'locked';
  }

  async askForIdle(): Promise<boolean> {
    return (await this.#idleDetector?.requestPermission().catch(() => 'denied')) === 'granted';
  }

  watch(needs: { battery: boolean; idle: boolean }, onChange: () => void): void {
    if (needs.battery && !this.#watched.battery) void this.#watchBattery(onChange);
    if (needs.idle && !this.#watched.idle) void this.#watchIdle(onChange);
  }

  async #watchBattery(onChange: () => void): Promise<void> {
    this.#watched.battery = true;
    try {
      this.#battery = await this.#getBattery?.();
    } catch {
      // The browser's policy forbids it: as if it told nothing.
      return;
    }
    for (const event of ['chargingchange', 'levelchange']) this.#battery?.addEventListener(event, onChange);
    onChange();
  }

  async #watchIdle(onChange: () => void): Promise<void> {
    if (!this.#idleDetector) return;
    this.#watched.idle = true;
    const detector = new this.#idleDetector();
    detector.addEventListener('change', onChange);
    try {
      await detector.start({ threshold: IDLE_AFTER_MS });
      this.#idle = detector;
    } catch {
      // Not granted, or no longer: the donor may allow it later.
      this.#watched.idle = false;
    }
    onChange();
  }
}
