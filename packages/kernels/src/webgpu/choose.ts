import { type RowWork, uniformRowEnd } from '@shoal/model';
import { shardBytes, type ExpertShape } from '@shoal/weights';
import { ExpertFfn } from '../wgsl/expert-ffn/expert-ffn.ts';
import { lapItems } from '../wgsl/expert-ffn/lap-items.ts';
import { variantsFor, type FfnVariant } from '../wgsl/expert-ffn/variants.ts';
import { allocate, USAGE } from './allocate.ts';
import { Scratch } from './scratch.ts';

/** A wide tile and a single row, so that both kinds of pass run. */
const TRIAL_ROWS = 5;
/** The first run also takes the time of code that a driver compiles late. */
const TRIAL_RUNS = 4;

/**
 * Compiles the FFN in the given variant, or by default in the fastest on this device: the speeds of f32 and integer products
 * differ by more than a factor of two between GPUs, in a way that an adapter's name does not tell. A single variant is run as
 * well, since drivers compile some code only when it first runs, for which no lap should wait. Subgroups are used wherever they
 * are available: a shared load costs a GPU nothing, and a software rasteriser a quarter.
 */
export async function chooseFfn(device: GPUDevice, shape: ExpertShape, variant?: FfnVariant): Promise<ExpertFfn> {
  if (variant) return ExpertFfn.compile(device, shape, variant);
  const hasSubgroups = device.features.has('subgroups');
  const all = variantsFor(shape, { hasSubgroups, hasIntegerDot: await hasIntegerDot(device) });
  const ffns = await firstThatCompile(device, shape, [
    all.filter(({ loads }) => loads === 'subgroup'),
    all.filter(({ loads }) => loads === 'direct'),
  ]);
  let best: { ffn: ExpertFfn; trialMs: number } | undefined;
  for (const ffn of ffns) {
    const trialMs = await trialOf(device, ffn);
    // If there was no memory for a trial (NaN), the first variant is kept, which needs the least.
    if (best === undefined || trialMs < best.trialMs) best = { ffn, trialMs };
  }
  return best!.ffn;
}

/** All variants that compile of the first group in which one does: a driver that fails on one kind may accept another. */
async function firstThatCompile(
  device: GPUDevice,
  shape: ExpertShape,
  groups: readonly (readonly FfnVariant[])[],
): Promise<ExpertFfn[]> {
  let failure: unknown;
  for (const group of groups) {
    const results = await Promise.allSettled(group.map((variant) => ExpertFfn.compile(device, shape, variant)));
    const ffns = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    if (ffns.length > 0) return ffns;
    failure = results.find((result) => result.status === 'rejected')?.reason ?? failure;
  }
  throw failure;
}

/** Milliseconds that TRIAL_ROWS rows take, with an expert whose weights are all zero. */
async function trialOf(device: GPUDevice, ffn: ExpertFfn): Promise<number> {
  const size = { numRows: TRIAL_ROWS, numAssignments: TRIAL_ROWS };
  const scratch = new Scratch(device);
  const { buffer: slab, failure } = allocate(device, {
    label: 'expert to try kernels with',
    size: shardBytes(ffn.shape),
    usage: USAGE.STORAGE,
  });
  const items = lapItems(trialLap(), wholeOf(size), ffn.shape, (expert) => ({ slab, slot: expert }));
  const { buffers, failure: scratchFailure } = scratch.take({
    ...ffn.bufferBytes(size),
    items: items.words.byteLength,
    adapterItems: 0,
    inner: 0,
    deltas: 0,
  });
  try {
    if ((await failure) ?? (await scratchFailure)) return Number.NaN;
    device.queue.writeBuffer(buffers.items, 0, items.words);
    const bindings = ffn.bind(slab, buffers);
    const times: number[] = [];
    for (let run = 0; run < TRIAL_RUNS; run++) {
      const startedMs = performance.now();
      const encoder = device.createCommandEncoder();
      ffn.encode(encoder, items, () => bindings, size);
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      times.push(performance.now() - startedMs);
    }
    return Math.min(...times);
  } finally {
    slab.destroy();
    scratch.destroy();
  }
}

/** One expert, all rows: the items don't look at the rows themselves. */
function trialLap(): RowWork {
  return {
    numRows: TRIAL_ROWS,
    rowEnd: uniformRowEnd(TRIAL_ROWS, 1),
    experts: new Uint16Array(TRIAL_ROWS),
    weights: new Float32Array(TRIAL_ROWS).fill(1),
  };
}

const wholeOf = ({ numRows, numAssignments }: { numRows: number; numAssignments: number }) => ({
  firstRow: 0,
  endRow: numRows,
  firstAssignment: 0,
  endAssignment: numAssignments,
});

/** Whether the compiler has the language feature packed_4x8_integer_dot_product, which an adapter does not report. */
export async function hasIntegerDot(device: GPUDevice): Promise<boolean> {
  device.pushErrorScope('validation');
  const code = 'fn probe(a: u32) -> i32 { return dot4I8Packed(a, pack4xI8(vec4(1))); }';
  const module = device.createShaderModule({ label: 'integer dot product probe', code });
  const [error] = await Promise.all([device.popErrorScope(), module.getCompilationInfo()]);
  return error === null;
}
