// How threads wait for one another.

/**
 * Returns when the word may have another value. Polls `looks` times, then sleeps, so that the thread that changes it gets the
 * CPU (`sleepNs` 0: no sleep, -1: no limit). Nothing follows the sleep, and the function must not be inlined where something
 * would: the polls are unrolled so that Binaryen considers it too large (docs/adr/0014, Threads;
 * test/contract/backend-wasm.test.ts checks the module).
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
