// How the operations' tasks read their arguments: 32-bit words of an operation, and the tables that these point to.

@inline
export function word(op: usize, i: i32): i32 {
  return load<i32>(op + ((<usize>i) << 2));
}

@inline
export function at(op: usize, i: i32): usize {
  return <usize>load<u32>(op + ((<usize>i) << 2));
}

@inline
export function real(op: usize, i: i32): f32 {
  return load<f32>(op + ((<usize>i) << 2));
}

@inline
export function pad4(dim: i32): i32 {
  return (dim + 3) & ~3;
}

/**
 * Field `i` of row `r` in the table of 36-byte entries: position, page table, cosines, sines, its own slot, positions in their own
 * places, slots of the others, adapter, scalings.
 */
@inline
export function place(rows: usize, r: i32, i: usize): usize {
  return <usize>load<u32>(rows + (<usize>r) * 36 + (i << 2));
}

/** Where position `position` lies that row `r` attends to. */
@inline
export function slotOf(rows: usize, r: i32, position: i32): i32 {
  const inPlace = <i32>place(rows, r, 5);
  return position < inPlace ? position : load<i32>(place(rows, r, 6) + ((<usize>(position - inPlace)) << 2));
}

/** A field of a task of attention: [first row, rows, first head, heads], with rows of one sequence. */
@inline
export function tile(tasks: usize, task: i32, i: usize): i32 {
  return load<i32>(tasks + ((<usize>task) << 4) + (i << 2));
}
