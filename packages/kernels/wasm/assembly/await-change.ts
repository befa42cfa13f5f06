// How threads wait for one another.

/**
 * Returns when the word may have another value: after some looking, by sleeping (`sleepNs` 0: not at all, -1: without an
 * end), so that whoever has to change it gets the processor. Nothing follows the sleep, and it must not be inlined where
 * something would: looks are written out so that Binaryen finds it too large (docs/adr/0014, Threads;
 * test/contract/backend-wasm.test.ts looks at the module).
 */
export function awaitChange(word: usize, value: i32, looks: i32, sleepNs: i64): void {
  for (let look = 0; look < looks; look += 12) {
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
    if (atomic.load<i32>(word) != value) return;
  }
  if (sleepNs != 0) atomic.wait<i32>(word, value, sleepNs);
}
