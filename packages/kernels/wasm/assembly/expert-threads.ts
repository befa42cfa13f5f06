// Several threads on one lap. The caller opens it; threads that are awake join, take items, and leave; the caller continues when
// all have left. A thread that sleeps through a lap delays nothing, since the others do its items.
import { awaitChange } from './await-change';
import { NUM_PHASES, phaseItems, runItem, runLap } from './expert-ffn';

// Words of the control block (zero at first), each in a cache line of its own.
const GENERATION: usize = 0;
const OPEN: usize = 64;
const JOINED: usize = 128;
const STOPPED: usize = 192;
const LAP: usize = 256;
/** Beside LAP: whether the caller may sleep, which a page's main thread may not. */
const CALLER_MAY_SLEEP: usize = 260;
const PHASES: usize = 320;
const NEXT_ITEM: usize = 0;
const DONE_ITEMS: usize = 64;
const PHASE_BYTES: usize = 128;
export const CONTROL_BYTES: i32 = 960;
/** Polls before sleeping between laps. The next lap usually comes within their time, which sleeping and waking would cost too. */
const LOOKS_BEFORE_SLEEP: i32 = 20_000;
/** Polls while others finish their last items. A thread that has lost its CPU takes far longer to return. */
const LOOKS_AT_PHASE_END: i32 = 2_000;
/** Ends a sleep whose wake-up was missed. */
const SLEEP_NS: i64 = 1_000_000;

/** Computes a lap with the threads that serve this control block. The caller is thread 0. */
export function runLapTogether(lap: usize, control: usize, maySleep: bool): void {
  if (!ASC_FEATURE_THREADS) return runLap(lap);
  for (let phase: usize = 0; phase < <usize>NUM_PHASES; phase++) {
    atomic.store<i32>(control + PHASES + phase * PHASE_BYTES + NEXT_ITEM, 0);
    atomic.store<i32>(control + PHASES + phase * PHASE_BYTES + DONE_ITEMS, 0);
  }
  atomic.store<usize>(control + LAP, lap);
  atomic.store<i32>(control + CALLER_MAY_SLEEP, maySleep);
  atomic.store<i32>(control + OPEN, 1);
  atomic.add<i32>(control + GENERATION, 1);
  atomic.notify(control + GENERATION, -1);
  takeItems(lap, control, 0);
  atomic.store<i32>(control + OPEN, 0);
  for (let joined = atomic.load<i32>(control + JOINED); joined != 0; joined = atomic.load<i32>(control + JOINED)) {
    awaitChange(control + JOINED, joined, LOOKS_AT_PHASE_END, maySleep ? SLEEP_NS : 0);
  }
}

/** The main loop of a thread. Returns when stopped. */
export function serveLaps(control: usize, thread: i32): void {
  if (!ASC_FEATURE_THREADS) return;
  let generation = 0;
  while (atomic.load<i32>(control + STOPPED) == 0) {
    awaitChange(control + GENERATION, generation, LOOKS_BEFORE_SLEEP, -1);
    const now = atomic.load<i32>(control + GENERATION);
    if (now == generation) continue;
    generation = now;
    atomic.add<i32>(control + JOINED, 1);
    // Now the caller is sure to wait for this thread, if the lap is still open.
    if (atomic.load<i32>(control + OPEN) != 0) takeItems(atomic.load<usize>(control + LAP), control, thread);
    atomic.sub<i32>(control + JOINED, 1);
    atomic.notify(control + JOINED, -1);
  }
}

export function stopThreads(control: usize): void {
  if (!ASC_FEATURE_THREADS) return;
  atomic.store<i32>(control + STOPPED, 1);
  atomic.add<i32>(control + GENERATION, 1);
  atomic.notify(control + GENERATION, -1);
}

function takeItems(lap: usize, control: usize, thread: i32): void {
  for (let phase = 0; phase < NUM_PHASES; phase++) {
    const items = phaseItems(lap, phase);
    const next = control + PHASES + <usize>phase * PHASE_BYTES + NEXT_ITEM;
    const done = control + PHASES + <usize>phase * PHASE_BYTES + DONE_ITEMS;
    let mine = 0;
    for (let item = atomic.add<i32>(next, 1); item < items; item = atomic.add<i32>(next, 1)) {
      runItem(lap, phase, item, thread);
      mine++;
    }
    if (mine > 0 && atomic.add<i32>(done, mine) + mine == items) atomic.notify(done, -1);
    const maySleep = thread != 0 || atomic.load<i32>(control + CALLER_MAY_SLEEP) != 0;
    const sleepNs = maySleep ? SLEEP_NS : 0;
    for (let now = atomic.load<i32>(done); now < items; now = atomic.load<i32>(done)) {
      awaitChange(done, now, LOOKS_AT_PHASE_END, sleepNs);
    }
  }
}
