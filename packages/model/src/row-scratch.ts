/** Memory that reads of rows share, one read at a time. Grows to the largest. */
export class RowScratch {
  #raw = new Uint8Array(0);
  #values = new Float32Array(0);
  #held: { key: string; value: unknown } | undefined;

  raw(bytes: number): Uint8Array {
    if (this.#raw.byteLength < bytes) this.#raw = new Uint8Array(bytes);
    return this.#raw.subarray(0, bytes);
  }

  values(length: number): Float32Array {
    if (this.#values.length < length) this.#values = new Float32Array(length);
    return this.#values.subarray(0, length);
  }

  /** What has to be read whole for any of a matrix's rows, kept until another is asked for. */
  async whole<T>(key: string, read: () => Promise<T>): Promise<T> {
    if (this.#held?.key !== key) this.#held = { key, value: await read() };
    return this.#held.value as T;
  }
}
