import { BUS_SCHEMAS, type BusKind, type BusMessages } from './bus-messages.ts';

type Handle = (from: string, message: never) => void;

/** Who handles which kind of message. */
export class Handlers {
  readonly #byKind = new Map<BusKind, Set<Handle>>();

  on<K extends BusKind>(kind: K, handle: (from: string, message: BusMessages[K]) => void): () => void {
    const handles = this.#byKind.get(kind) ?? new Set();
    this.#byKind.set(kind, handles);
    handles.add(handle);
    return () => handles.delete(handle);
  }

  /** Returns false, and calls nobody, if the message doesn't fit its kind's schema. */
  handle(kind: BusKind, from: string, message: unknown): boolean {
    const parsed = BUS_SCHEMAS[kind].safeParse(message);
    if (!parsed.success) return false;
    for (const handle of this.#byKind.get(kind) ?? []) handle(from, parsed.data as never);
    return true;
  }
}
