import { DONOR_INFO_PATH, type DonorInfo, donorInfoSchema } from '@shoal/protocol';
import { type CoordinatorUrl, placeOf } from '@shoal/protocol/page';

const DEADLINE_MS = 10_000;
/** Figures that people read now and then. */
const REFRESH_MS = 20_000;

/** What the coordinator tells donors; undefined if it can't be asked, or says something else. Never rejects. */
export async function fetchInfo(coordinator: CoordinatorUrl): Promise<DonorInfo | undefined> {
  try {
    const url = placeOf(coordinator, `/${DONOR_INFO_PATH}`);
    const response = await fetch(url, { signal: AbortSignal.timeout(DEADLINE_MS) });
    return response.ok ? donorInfoSchema.safeParse(await response.json()).data : undefined;
  } catch {
    return undefined;
  }
}

/** Asks now, and again while the page is looked at. */
export function watchInfo(coordinator: CoordinatorUrl, onInfo: (info: DonorInfo | undefined) => void): void {
  let askedMs = Number.NEGATIVE_INFINITY;
  const ask = (): void => {
    if (document.visibilityState !== 'visible' || performance.now() - askedMs < REFRESH_MS) return;
    askedMs = performance.now();
    void fetchInfo(coordinator).then(onInfo);
  };
  setInterval(ask, REFRESH_MS);
  document.addEventListener('visibilitychange', ask);
  ask();
}
