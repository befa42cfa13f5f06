import type { PageTexts } from '@shoal/protocol/page';

const MIB = 2 ** 20;

/** The slider's stops. A gibibyte is about three layers of a 16-billion-parameter model at four bits. */
export const PLEDGE_STOPS_BYTES: readonly number[] = [
  128, 256, 512, 1024, 2048, 3072, 4096, 6144, 8192, 12_288, 16_384,
].map((mib) => mib * MIB);

const STORAGE_KEY = 'shoal.pledge-mib';
/** Share of the computer's memory, which many GPUs use too. */
const DEFAULT_SHARE = 1 / 8;
/** The default never exceeds this: lending more is the donor's choice. */
const MAX_DEFAULT_BYTES = 1024 * MIB;

/**
 * The slider's initial value: the donor's last choice, else an eighth of the computer's memory, at most 1 GiB. Browsers report
 * the memory in powers of two, up to 8 GiB.
 */
export function initialPledgeBytes(storage: PageTexts, deviceMemoryGib: number | undefined): number {
  const remembered = Number(storage.getItem(STORAGE_KEY)) * MIB;
  if (PLEDGE_STOPS_BYTES.includes(remembered)) return remembered;
  const shareBytes = (deviceMemoryGib ?? 8) * 1024 * MIB * DEFAULT_SHARE;
  return nearestStop(Math.min(MAX_DEFAULT_BYTES, shareBytes));
}

export function rememberPledge(storage: PageTexts, pledgeBytes: number): void {
  storage.setItem(STORAGE_KEY, String(pledgeBytes / MIB));
}

/** The largest stop not above `bytes`, else the smallest stop. */
export function nearestStop(bytes: number): number {
  return PLEDGE_STOPS_BYTES.findLast((stop) => stop <= bytes) ?? PLEDGE_STOPS_BYTES[0]!;
}
