/** A figure and its reference value. */
export interface Row {
  figure: string;
  measured: string;
  reference: string;
}

/** A figure with a target that it meets or misses. */
export interface HeldRow extends Row {
  /** Undefined if there is no target. */
  met?: boolean;
}

/** Aligns columns, with numbers to the right; the first column is a name. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Formats rows under column headings. */
export function formatHeldRows(rows: readonly HeldRow[]): string {
  const cells = rows.map(({ figure, measured, reference, met }) => [
    figure,
    measured,
    reference,
    met === undefined ? '' : met ? 'met' : 'missed',
  ]);
  return formatTable([['', 'measured', 'target or reference', ''], ...cells]);
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  // Of an even number the mean of the two in the middle: the upper one alone would flatter.
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.floor(sorted.length / 2)]!) / 2;
}
