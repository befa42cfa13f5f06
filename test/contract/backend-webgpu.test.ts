import { createWebGpuBackend, KernelError } from '@shoal/kernels';
import { uniformWorkItem, type WorkItem } from '@shoal/model';
import { packExpert, QUANTS, shardBytes, type ExpertShape } from '@shoal/weights';
import { afterAll, describe, expect, it } from 'vitest';
import {
  adapterCase,
  type ConformanceCase,
  kernelCase,
  scalesCase,
  storageCases,
} from '../../packages/kernels/src/conformance.ts';
import { MAX_SCRATCH_BYTES, WebGpuExpertBackend } from '../../packages/kernels/src/webgpu/backend.ts';
import { createWebGpuBackend as createWithOptions } from '../../packages/kernels/src/webgpu/create.ts';
import { ExpertFfn } from '../../packages/kernels/src/wgsl/expert-ffn/expert-ffn.ts';
import { variantName, type FfnVariant } from '../../packages/kernels/src/wgsl/expert-ffn/variants.ts';
import { describeExpertBackend } from './backend-suite.ts';
import { dawnAdapter } from './dawn.ts';

/**
 * All sizes and formats run on one variant (undefined). The host's code, `combine` and f16 unpacking are the same
 * in every variant, so the others need only test their own `gate_up`, `down` and `quantise`: how inputs are loaded, and
 * how each format is unpacked and multiplied. One ragged shape shows that (`kernelCase`).
 * With direct loads a layer's experts lie in several buffers of three each, covered by the storage cases of one format.
 */
const ADAPTED_Q8 = adapterCase({ hiddenSize: 33, moeIntermediateSize: 70, quant: 'q8' });
const VARIANTS: readonly (FfnVariant & { cases: readonly ConformanceCase[] | undefined })[] = [
  { arithmetic: 'f32', loads: 'subgroup', cases: undefined },
  { arithmetic: 'f32', loads: 'direct', cases: [kernelCase('f16'), kernelCase('q4'), ...storageCases('f16')] },
  {
    arithmetic: 'int8',
    loads: 'subgroup',
    cases: [kernelCase('q8'), kernelCase('q4'), kernelCase('mxfp4'), scalesCase(), ADAPTED_Q8],
  },
  { arithmetic: 'int8', loads: 'direct', cases: [kernelCase('q8')] },
];

for (const { cases, ...variant } of VARIANTS) {
  describeExpertBackend(
    `webgpu (Dawn in Node), ${variantName(variant)}`,
    async (shape) => {
      const { device, ffn } = await compiled(shape, variant);
      const limits = variant.loads === 'direct' ? { maxBindingBytes: 3 * shardBytes(shape) } : {};
      return new WebGpuExpertBackend(device, ffn, limits);
    },
    cases,
  );
}

/** Compiled pipelines, which outlive the backends that use them: compiling is most of what a small case costs. */
const compiledFfns = new Map<string, Promise<{ device: GPUDevice; ffn: ExpertFfn }>>();

function compiled(shape: ExpertShape, variant: FfnVariant): Promise<{ device: GPUDevice; ffn: ExpertFfn }> {
  const key = JSON.stringify([shape, variant]);
  const compile = async () => {
    const adapter = await dawnAdapter();
    const requiredFeatures: GPUFeatureName[] = variant.loads === 'subgroup' ? ['subgroups'] : [];
    const device = spyOn(await adapter.requestDevice({ requiredFeatures }), 'destroy', () => () => undefined);
    return { device, ffn: await ExpertFfn.compile(device, shape, variant) };
  };
  const made = compiledFfns.get(key) ?? compile();
  compiledFfns.set(key, made);
  return made;
}

const shape: ExpertShape = { hiddenSize: 33, moeIntermediateSize: 17, quant: 'f16' };

function someExpert(seed: number): Uint8Array {
  const values = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i * 0.7 + seed));
  const size = shape.hiddenSize * shape.moeIntermediateSize;
  return packExpert(shape, { gate: values(size), up: values(size), down: values(size) });
}

function someLap(numRows: number, perRow: number): WorkItem {
  return uniformWorkItem({
    layer: 0,
    numRows,
    rows: Uint16Array.from({ length: numRows * shape.hiddenSize }, (_, i) => 0x3000 + (i % 0x0fff)),
    experts: Uint16Array.from({ length: numRows * perRow }, (_, i) => i % 2),
    weights: Float32Array.from({ length: numRows * perRow }, (_, i) => 0.1 + (i % 5)),
  });
}

async function someExperts(count: number, maxScratchBytes = MAX_SCRATCH_BYTES) {
  const { device, ffn } = await compiled(shape, { arithmetic: 'f32', loads: 'subgroup' });
  const backend = new WebGpuExpertBackend(device, ffn, { maxScratchBytes });
  for (let expert = 0; expert < count; expert++) await backend.load(0, expert, someExpert(expert));
  return backend;
}

const twoExperts = (maxScratchBytes?: number) => someExperts(2, maxScratchBytes);

/** An undisturbed backend, which computes the sums that others must give. */
let whole: ReturnType<typeof someExperts> | undefined;
const expectedSums = async (lap: WorkItem) => (await (await (whole ??= someExperts(8))).run(lap)).partial;
afterAll(async () => (await whole)?.destroy());

describe('the WebGPU backend', () => {
  it('computes a lap that exceeds its scratch in pieces, with the same bits', async () => {
    // 6,000 assignments, of whose products 1,985 fit.
    const lap = someLap(1500, 4);
    const pieces = await twoExperts(256 * 1024);
    expect((await pieces.run(lap)).partial).toEqual(await expectedSums(lap));
    pieces.destroy();
  });

  it('describes its adapter', async () => {
    const { backend, adapterInfo } = await createWebGpuBackend({ gpu: await dawnAdapter(), shape });
    expect(adapterInfo.vendor).not.toBe('');
    expect(adapterInfo.maxStorageBindingBytes).toBeGreaterThanOrEqual(128 * 1024 * 1024);
    expect(backend.maxExpertsPerLayer).toBe(Number.POSITIVE_INFINITY);
    backend.destroy();
  });

  it('refuses work after destroy, fails the laps in flight, and does not call that a loss', async () => {
    const { backend } = await createWithOptions({ gpu: await dawnAdapter(), shape });
    for (const expert of [0, 1]) await backend.load(0, expert, someExpert(expert));
    const inFlight = backend.run(someLap(300, 4)).then(
      () => 'finished',
      (error: unknown) => (error as KernelError).reason,
    );
    let lost = false;
    void backend.lost.then(() => (lost = true));
    backend.destroy();
    expect(['finished', 'device-lost']).toContain(await inFlight);
    await expect(backend.run(someLap(1, 1))).rejects.toMatchObject({ reason: 'device-lost' });
    await expect(backend.load(0, 0, someExpert(1))).rejects.toMatchObject({ reason: 'device-lost' });
    expect(backend.allocatedBytes).toBe(0);
    expect(lost).toBe(false);
  });

  it('says when the device goes by itself', async () => {
    let device: GPUDevice | undefined;
    const gpu = spyOnDevice(await dawnAdapter(), (made) => (device = made));
    const { backend } = await createWebGpuBackend({ gpu, shape });
    device!.destroy();
    expect(await backend.lost).not.toBe('');
    await expect(backend.run(someLap(0, 1))).rejects.toMatchObject({ reason: 'device-lost' });
  });

  it.each(['scratch', 'lap result', 'experts of layer'])('survives a lack of memory for: %s', async (label) => {
    let full = false;
    const gpu = spyOnDevice(await dawnAdapter(), (device) =>
      spyOn(device, 'createBuffer', (create) => (descriptor: GPUBufferDescriptor) => {
        // Larger than the device allows, so that the driver rejects it as when memory is short.
        const size = full && descriptor.label?.startsWith(label) ? 2 ** 50 : descriptor.size;
        return create({ ...descriptor, size });
      }),
    );
    const { backend } = await createWebGpuBackend({ gpu, shape });
    for (const expert of [0, 1]) await backend.load(0, expert, someExpert(expert));
    full = true;
    const attempt = label.startsWith('experts') ? backend.reserve(0, [0, 1, 2, 3, 4]) : backend.run(someLap(9, 2));
    await expect(attempt).rejects.toMatchObject({ reason: 'out-of-memory' });
    full = false;
    expect((await backend.run(someLap(9, 2))).partial).toEqual(await expectedSums(someLap(9, 2)));
    backend.destroy();
  });

  it('bounds the laps in flight', async () => {
    const backend = await twoExperts();
    const results = await Promise.allSettled(Array.from({ length: 70 }, () => backend.run(someLap(1, 1))));
    const refused = results.filter((result) => result.status === 'rejected');
    expect(refused).toHaveLength(6);
    for (const { reason } of refused) expect(reason).toMatchObject({ reason: 'limits' });
    backend.destroy();
  });

  it('counts scratch and staging with the weights, up to a bound', async () => {
    const backend = await twoExperts(256 * 1024);
    const weights = backend.allocatedBytes;
    expect(weights % shardBytes(shape)).toBe(0);
    await backend.run(someLap(1, 2));
    const afterOne = backend.allocatedBytes;
    expect(afterOne).toBeGreaterThan(weights);
    await backend.run(someLap(1, 2));
    expect(backend.allocatedBytes).toBe(afterOne);
    await backend.run(someLap(1500, 4));
    const afterMany = backend.allocatedBytes;
    await backend.run(someLap(1500, 4));
    expect(backend.allocatedBytes).toBe(afterMany);
    backend.destroy();
    expect(backend.allocatedBytes).toBe(0);
  });

  it('chooses among what the device can run, with integers where the format has them', async () => {
    for (const quant of QUANTS) {
      const made = await createWebGpuBackend({ gpu: await dawnAdapter(), shape: { ...shape, quant } });
      expect(made.variant).toMatch(quant === 'f16' ? /^f32, subgroup/ : /^(f32|int8), subgroup/);
      expect(made.backend.allocatedBytes).toBe(0);
      made.backend.destroy();
    }
  });

  it('does without what the driver does not compile', async () => {
    const without = async (text: string) => {
      const gpu = spyOnDevice(await dawnAdapter(), (device) =>
        spyOn(device, 'createShaderModule', (create) => (descriptor: GPUShaderModuleDescriptor) => {
          const isBad = descriptor.code.includes(text) && descriptor.code.includes('@compute');
          return create(isBad ? { ...descriptor, code: `${descriptor.code} nonsense` } : descriptor);
        }),
      );
      return createWebGpuBackend({ gpu, shape: { ...shape, quant: 'q4' } });
    };
    const noDot = await without('dot4I8Packed(');
    expect(noDot.variant).toBe('f32, subgroup loads');
    const noSubgroups = await without('subgroupBroadcast(');
    expect(noSubgroups.variant).toMatch(/direct loads$/);
    await expect(without('load_weights')).rejects.toMatchObject({ reason: 'compile' });
    for (const { backend } of [noDot, noSubgroups]) backend.destroy();
  });

  it('takes no more of a layer into one buffer than a binding holds', async () => {
    const sizes: number[] = [];
    const gpu = spyOnDevice(await dawnAdapter(), (device) =>
      spyOn(device, 'createBuffer', (create) => (descriptor: GPUBufferDescriptor) => {
        if (descriptor.label?.startsWith('experts of layer')) sizes.push(descriptor.size);
        return create(descriptor);
      }),
    );
    const bytes = shardBytes(shape);
    const { backend } = await createWithOptions({ gpu, shape, maxBindingBytes: 3.5 * bytes });
    await backend.reserve(
      0,
      Array.from({ length: 8 }, (_, expert) => expert),
    );
    expect(sizes).toEqual([3 * bytes, 3 * bytes, 2 * bytes]);
    expect(backend.allocatedBytes).toBe(8 * bytes);
    for (let expert = 0; expert < 8; expert++) await backend.load(0, expert, someExpert(expert));
    expect(sizes).toHaveLength(3);
    const lap = { ...someLap(40, 3), experts: Uint16Array.from({ length: 120 }, (_, i) => (i * 5) % 8) };
    expect((await backend.run(lap)).partial).toEqual(await expectedSums(lap));
    // Shrunk after some were unloaded, with the same results.
    for (const expert of [1, 2, 4]) backend.unload(0, expert);
    await backend.reserve(0, []);
    expect(backend.allocatedBytes).toBeGreaterThanOrEqual(5 * bytes);
    const kept = { ...lap, experts: lap.experts.map((expert) => [0, 3, 5, 6, 7][expert % 5]!) };
    expect((await backend.run(kept)).partial).toEqual(await expectedSums(kept));
    backend.destroy();
  });

  it('refuses an expert larger than a binding', async () => {
    const huge: ExpertShape = { hiddenSize: 65_536, moeIntermediateSize: 65_536, quant: 'f16' };
    await expect(createWebGpuBackend({ gpu: await dawnAdapter(), shape: huge })).rejects.toMatchObject({
      reason: 'limits',
    });
  });

  it('says that there is no adapter', async () => {
    const gpu = { requestAdapter: async () => null } as unknown as GPU;
    await expect(createWebGpuBackend({ gpu, shape })).rejects.toMatchObject({ reason: 'no-adapter' });
  });
});

/** An adapter whose device passes through `see`. */
function spyOnDevice(adapter: GPUAdapter, see: (device: GPUDevice) => GPUDevice): GPUAdapter {
  return spyOn(
    adapter,
    'requestDevice',
    (request) => async (descriptor?: GPUDeviceDescriptor) => see(await request(descriptor)),
  );
}

/** `target` with one method replaced. A native object's other methods must still be called on itself. */
function spyOn<T extends object, K extends keyof T>(target: T, method: K, replace: (original: T[K]) => T[K]): T {
  return new Proxy(target, {
    get: (_, key) => {
      const value: unknown = Reflect.get(target, key, target);
      const bound: unknown = typeof value === 'function' ? value.bind(target) : value;
      return key === method ? replace(bound as T[K]) : bound;
    },
  });
}
