/** Idle buffers kept: as many as there are answers leaving at a time. */
const MAX_IDLE = 8;
const MIN_BYTES = 1024;

/** Reuses the buffers of frames, so that answers allocate no memory. */
export class FramePool {
  #idle: Uint8Array<ArrayBuffer>[] = [];

  /** Returns a view of `bytes` bytes with arbitrary contents. */
  take(bytes: number): Uint8Array<ArrayBuffer> {
    const index = this.#idle.findIndex((space) => space.buffer.byteLength >= bytes);
    const idle = index < 0 ? undefined : this.#idle.splice(index, 1)[0]!.buffer;
    const buffer = idle ?? new ArrayBuffer(Math.max(MIN_BYTES, 2 ** Math.ceil(Math.log2(bytes))));
    return new Uint8Array(buffer, 0, bytes);
  }

  /** Takes back a frame that is no longer read. */
  give(frame: Uint8Array<ArrayBuffer>): void {
    this.#idle.push(frame);
    if (this.#idle.length > MAX_IDLE) this.#idle.shift();
  }
}
