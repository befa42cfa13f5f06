import { uniformWorkItem } from '@shoal/model';
import { createWebGpuBackend, KernelError } from '@shoal/kernels';
import { packExpert, QUANTS, shardBytes, type ExpertShape, type Quant } from '@shoal/weights';
import { describe, expect, it } from 'vitest';
import { createWebGpuBackend as createWithOptions } from '../../packages/kernels/src/webgpu/create.ts';
import { variantName, type FfnVariant } from '../../packages/kernels/src/wgsl/expert-ffn/variants.ts';
import { describeExpertBackend } from './backend-suite.ts';
import { dawnAdapter } from './dawn.ts';

/** Every variant; with direct loads, a layer's experts in several buffers as well. */
const VARIANTS: readonly (FfnVariant & { quants: readonly Quant[] })[] = [
  { arithmetic: 'f32', loads: 'subgroup', quants: QUANTS },
  { arithmetic: 'f32', loads: 'direct', quants: ['f16', 'q4'] },
  { arithmetic: 'int8', loads: 'subgroup', quants: ['q8', 'q4'] },
  { arithmetic: 'int8', loads: 'direct', quants: ['q8'] },
];

for (const { quants, ...variant } of VARIANTS) {
  describeExpertBackend(
    `webgpu (Dawn in Node), ${variantName(variant)}`,
    async (shape) => {
      const limits = variant.loads === 'direct' ? { maxBindingBytes: 3 * shardBytes(shape) } : {};
      return (await createWithOptions({ gpu: await dawnAdapter(), shape, variant, ...limits })).backend;
    },
    quants,
  );
}

const shape: ExpertShape = { hiddenSize: 33, moeIntermediateSize: 17, quant: 'f16' };

function someExpert(seed: number): Uint8Array {
  const values = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i * 0.7 + seed));
  const size = shape.hiddenSize * shape.moeIntermediateSize;
  return packExpert(shape, { gate: values(size), up: values(size), down: values(size) });
}

function someLap(numRows: number, perRow: number): Parameters<Awaited<ReturnType<typeof twoExperts>>['run']>[0] {
  return uniformWorkItem({
    layer: 0,
    numRows,
    rows: Uint16Array.from({ length: numRows * shape.hiddenSize }, (_, i) => 0x3000 + (i % 0x0fff)),
    experts: Uint16Array.from({ length: numRows * perRow }, (_, i) => i % 2),
    weights: Float32Array.from({ length: numRows * perRow }, (_, i) => 0.1 + (i % 5)),
  });
}

async function twoExperts(maxScratchBytes?: number) {
  const options = { gpu: await dawnAdapter(), shape, ...(maxScratchBytes ? { maxScratchBytes } : {}) };
  const { backend } = await createWithOptions(options);
  await backend.load(0, 0, someExpert(1));
  await backend.load(0, 1, someExpert(2));
  return backend;
}

describe('the WebGPU backend', () => {
  it('computes a lap that exceeds its scratch in pieces, with the same bits', async () => {
    const lap = someLap(5000, 4);
    const whole = await twoExperts();
    const pieces = await twoExperts(256 * 1024);
    const [expected, actual] = await Promise.all([whole.run(lap), pieces.run(lap)]);
    expect(actual.partial).toEqual(expected.partial);
    whole.destroy();
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
    const backend = await twoExperts();
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
        // Larger than the device allows: the driver refuses it, as it would when memory is short.
        const size = full && descriptor.label?.startsWith(label) ? 2 ** 50 : descriptor.size;
        return create({ ...descriptor, size });
      }),
    );
    const { backend } = await createWebGpuBackend({ gpu, shape });
    await backend.load(0, 0, someExpert(1));
    await backend.load(0, 1, someExpert(2));
    full = true;
    const attempt = label.startsWith('experts') ? backend.reserve(0, [0, 1, 2, 3, 4]) : backend.run(someLap(9, 2));
    await expect(attempt).rejects.toMatchObject({ reason: 'out-of-memory' });
    full = false;
    const whole = await twoExperts();
    expect((await backend.run(someLap(9, 2))).partial).toEqual((await whole.run(someLap(9, 2))).partial);
    backend.destroy();
    whole.destroy();
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
    await backend.run(someLap(5000, 4));
    const afterMany = backend.allocatedBytes;
    await backend.run(someLap(5000, 4));
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
    const whole = (await createWithOptions({ gpu: await dawnAdapter(), shape })).backend;
    for (let expert = 0; expert < 8; expert++) await whole.load(0, expert, someExpert(expert));
    const lap = { ...someLap(40, 3), experts: Uint16Array.from({ length: 120 }, (_, i) => (i * 5) % 8) };
    expect((await backend.run(lap)).partial).toEqual((await whole.run(lap)).partial);
    // Shrunk to what is held after some have gone, and still the same.
    for (const expert of [1, 2, 4]) backend.unload(0, expert);
    await backend.reserve(0, []);
    expect(backend.allocatedBytes).toBeGreaterThanOrEqual(5 * bytes);
    const kept = { ...lap, experts: lap.experts.map((expert) => [0, 3, 5, 6, 7][expert % 5]!) };
    expect((await backend.run(kept)).partial).toEqual((await whole.run(kept)).partial);
    backend.destroy();
    whole.destroy();
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
