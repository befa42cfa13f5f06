// A program is a list of operations of 32 words: [operation, barrier, next task, tasks, arguments …], ended by 0. Every thread
// runs the whole program: it takes an operation's tasks one by one from a counter, and after an operation with `barrier` waits
// for all threads. A task's result has the same bits whichever thread computes it.
import { awaitChange } from '../await-change';
import { adapterInTask, adapterOutTask } from './adapters';
import { groupedAttentionTask, keyValueTask } from './grouped-query';
import {
  activationTask,
  embedTask,
  gemmTask,
  latentAttentionTask,
  latentTask,
  normTask,
  queryTask,
  scaleTask,
  siluTask,
} from './operations';

const enum Op {
  END,
  EMBED,
  NORM,
  GEMM,
  SILU,
  LATENT,
  LATENT_ATTENTION,
  KEY_VALUE,
  GROUPED_ATTENTION,
  QUERY,
  SCALE,
  ADAPTER_IN,
  ADAPTER_OUT,
  ACTIVATION,
}

const OP_BYTES: usize = 128;
/** Polls before a thread sleeps at a barrier. They take tens of microseconds, longer than the end of a task. */
const SPINS: i32 = 4000;

/** `control` has two words, arrivals and generation, initially 0. Each thread has its own `scratch`. */
export function runProgram(program: usize, control: usize, threads: i32, scratch: usize): void {
  for (let op = program; load<i32>(op) != Op.END; op += OP_BYTES) {
    const kind = load<i32>(op);
    const tasks = load<i32>(op, 12);
    for (;;) {
      const task = takeTask(op + 8);
      if (task >= tasks) break;
      runTask(kind, op, task, scratch);
    }
    if (load<i32>(op, 4) && threads > 1) barrier(control, threads);
  }
}

@inline
function runTask(kind: i32, op: usize, task: i32, scratch: usize): void {
  switch (kind) {
    case Op.GEMM:
      return gemmTask(op, task, scratch);
    case Op.NORM:
      return normTask(op, task, scratch);
    case Op.SILU:
      return siluTask(op, task);
    case Op.LATENT:
      return latentTask(op, task);
    case Op.LATENT_ATTENTION:
      return latentAttentionTask(op, task, scratch);
    case Op.KEY_VALUE:
      return keyValueTask(op, task);
    case Op.GROUPED_ATTENTION:
      return groupedAttentionTask(op, task, scratch);
    case Op.QUERY:
      return queryTask(op, task, scratch);
    case Op.SCALE:
      return scaleTask(op, task);
    case Op.ADAPTER_IN:
      return adapterInTask(op, task);
    case Op.ADAPTER_OUT:
      return adapterOutTask(op, task);
    case Op.ACTIVATION:
      return activationTask(op, task);
    case Op.EMBED:
      return embedTask(op, task);
    default:
      unreachable();
  }
}

@inline
function takeTask(counter: usize): i32 {
  if (ASC_FEATURE_THREADS) return atomic.add<i32>(counter, 1);
  const task = load<i32>(counter);
  store<i32>(counter, task + 1);
  return task;
}

function barrier(control: usize, threads: i32): void {
  if (ASC_FEATURE_THREADS) {
    const generation = atomic.load<i32>(control, 4);
    if (atomic.add<i32>(control, 1) == threads - 1) {
      atomic.store<i32>(control, 0);
      atomic.add<i32>(control + 4, 1);
      atomic.notify(control + 4, threads);
      return;
    }
    while (atomic.load<i32>(control, 4) == generation) awaitChange(control + 4, generation, SPINS, -1);
  }
}
