import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** packages/kernels/wasm/assembly/index.ts, as far as the dense engine goes. */
interface KernelExports {
  gemm(
    ...args: [
      w: number,
      format: number,
      blocks: number,
      outDim: number,
      x: number,
      xStride: number,
      numRows: number,
      y: number,
      yStride: number,
      accumulate: number,
      from: number,
      to: number,
      scratch: number,
    ]
  ): void;
  decodeRow(w: number, format: number, blocks: number, row: number, out: number): void;
  prepareRow(x: number, dim: number, out: number, format: number): void;
  rmsNormRow(x: number, weight: number, dim: number, eps: number, out: number): void;
  siluMulRow(gate: number, up: number, dim: number): void;
  clipRow(x: number, dim: number, limit: number): void;
  ropeRow(x: number, dim: number, cos: number, sin: number, interleaved: number): void;
  encodeHalves(x: number, dim: number, out: number): void;
  decodeHalves(h: number, dim: number, out: number): void;
  encodePart(x: number, dim: number, out: number, exponentOut: number): void;
  decodePart(h: number, dim: number, exponentAt: number, out: number): void;
  openState(state: number, valueDim: number): void;
  attendBlock(
    ...args: [
      q: number,
      keyDim: number,
      valueDim: number,
      keys: number,
      values: number,
      stride: number,
      count: number,
      scale: number,
      state: number,
      scores: number,
      biases: number,
    ]
  ): void;
  closeState(state: number, valueDim: number): void;
  runProgram(program: number, control: number, threads: number, scratch: number): void;
  answerQuery(query: number, logits: number, vocab: number, scratch: number): void;
  expOf(x: number): number;
}

const DIST = join(import.meta.dirname, '../../../dist');
/** A NaN, so that a word which was never written shows. */
const POISON = 0x7fc0dead;

const modules = new Map<string, WebAssembly.Module>();

function compiled(file: string): WebAssembly.Module {
  let module = modules.get(file);
  if (!module) modules.set(file, (module = new WebAssembly.Module(readFileSync(join(DIST, file)))));
  return module;
}

/** The kernels on a poisoned memory of their own. */
export class KernelBench {
  readonly exports: KernelExports;
  readonly memory: WebAssembly.Memory;
  #end = 65_536;

  constructor(file = 'shoal.wasm', pages = 64) {
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: 65_536 });
    const instance = new WebAssembly.Instance(compiled(file), { env: { memory: this.memory } });
    this.exports = instance.exports as unknown as KernelExports;
    new Uint32Array(this.memory.buffer).fill(POISON, this.#end / 4);
  }

  /** Reserves poisoned bytes, 16-byte aligned and apart from what comes next. Returns their address. */
  room(bytes: number): number {
    const address = this.#end;
    this.#end += Math.ceil(bytes / 16) * 16 + 64;
    return address;
  }

  put(values: Float32Array | Uint8Array | Uint16Array): number {
    const address = this.room(values.byteLength);
    this.bytes(address, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return address;
  }

  bytes(address: number, count: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, count);
  }

  floats(address: number, count: number): Float32Array {
    return new Float32Array(this.memory.buffer, address, count);
  }

  /** As a Bank has them. */
  get views(): { u8: Uint8Array; i32: Int32Array; f32: Float32Array } {
    const { buffer } = this.memory;
    return { u8: new Uint8Array(buffer), i32: new Int32Array(buffer), f32: new Float32Array(buffer) };
  }

  /** Whether the words behind an address have never been written. */
  isUntouched(address: number, words: number): boolean {
    return new Uint32Array(this.memory.buffer, address, words).every((word) => word === POISON);
  }
}
