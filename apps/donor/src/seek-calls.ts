import type { Seek, SeekReply } from '@shoal/protocol';

/** The page gives up a call before that, if its coordinator does not answer. */
const TIMEOUT_MS = 10_000;

/** The worker's calls of the coordinator, which the page makes for it. */
export class SeekCalls {
  readonly #post: (message: { type: 'seek'; id: number; seek: Seek }) => void;
  readonly #waiting = new Map<number, (reply: SeekReply | undefined) => void>();
  #nextId = 0;

  constructor(post: (message: { type: 'seek'; id: number; seek: Seek }) => void) {
    this.#post = post;
  }

  call(seek: Seek): Promise<SeekReply> {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.settle(id, undefined), TIMEOUT_MS);
      this.#waiting.set(id, (reply) => {
        clearTimeout(timer);
        if (reply) resolve(reply);
        else reject(new Error('The coordinator did not answer'));
      });
      this.#post({ type: 'seek', id, seek });
    });
  }

  /** Without a reply, the call fails. */
  settle(id: number, reply: SeekReply | undefined): void {
    this.#waiting.get(id)?.(reply);
    this.#waiting.delete(id);
  }
}
