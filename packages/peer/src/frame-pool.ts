/** Frames whose bytes are used again: as many as answers leave at a time. */
const MAX_IDLE = 8;
const MIN_BYTES = 1024;

/** Space for frames, so that an answer costs no memory of its own. */
export class FramePool {
  #idle: Uint8Array<ArrayBuffer>[] = [];

  /** So many bytes; what lies in them is of no matter. */
  take(bytes: number): Uint8Array<ArrayBuffer> {
    const index = this.#idle.findIndex((space) => space.buffer.byteLength >= bytes);
    const space = index < 0 ? undefined : this.#idle.splice(index, 1)[0];
    return new Uint8Array(
      space?.buffer ?? new ArrayBuffer(Math.max(MIN_BYTES, 2 ** Math.ceil(Math.log2(bytes)))),
      0,
      bytes,
    );
  }

  /** Nobody reads the frame any more. */
  give(frame: Uint8Array<ArrayBuffer>): void {
    this.#idle.push(frame);
    if (this.#idle.length > MAX_IDLE) this.#idle.shift();
  }
}
