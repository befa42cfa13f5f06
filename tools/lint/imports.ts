import { posix } from 'node:path';
import { COORDINATOR_FLOORS, DOORS, type FloorTable, PACKAGE_FLOORS } from './floors.ts';
import { type Fault, isTest, lineAt, type SourceFile } from './source-files.ts';

const IMPORT = /(?:^|[\s;}])(?:from|import)\s*\(?\s*'([^']+)'/g;
const SEE = 'see tools/lint/floors.ts and ARCHITECTURE.md';

/** Finds imports, including type-only ones, that the floor tables forbid. */
export function floorFaults(files: readonly SourceFile[]): Fault[] {
  return [...tableFaults(PACKAGE_FLOORS), ...tableFaults(COORDINATOR_FLOORS), ...files.flatMap(importFaults)];
}

function importFaults({ path, text }: SourceFile): Fault[] {
  const part = packageOf(path);
  if (part === undefined) return [];
  return [...text.matchAll(IMPORT)].flatMap((match) => {
    const reason = forbidden(path, part, match[1]!);
    return reason === undefined ? [] : [{ file: path, line: lineAt(text, match.index + 1), ...reason }];
  });
}

function forbidden(path: string, part: string, specifier: string): Pick<Fault, 'fault' | 'remedy'> | undefined {
  const target = specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier) : named(specifier);
  if (target === undefined) return undefined;
  const targetPart = packageOf(target) ?? target;
  if (targetPart !== part) {
    if (specifier.startsWith('.') && packageOf(target) !== undefined) {
      return { fault: `imports ${specifier} by its path`, remedy: 'import a package by its name' };
    }
    const door = DOORS[part]?.[targetPart];
    if (door && !isTest(path) && !door.includes(path)) {
      return { fault: `${part} imports ${targetPart} outside ${door.join(', ')}`, remedy: `pass it in: ${SEE}` };
    }
    if (packageOf(target) === undefined || PACKAGE_FLOORS[part]!.includes(targetPart)) return undefined;
    return { fault: `${part} imports ${targetPart}`, remedy: `move the code to a part that both may import: ${SEE}` };
  }
  const [floor, targetFloor] = [floorOf(path), floorOf(target)];
  if (
    isTest(path) ||
    floor === undefined ||
    targetFloor === undefined ||
    floor === targetFloor ||
    COORDINATOR_FLOORS[floor] === undefined
  )
    return undefined;
  if (COORDINATOR_FLOORS[floor].includes(targetFloor)) return undefined;
  return {
    fault: `coordinator/src/${floor} imports ${targetFloor} (${specifier})`,
    remedy: `move what is shared to a floor below both, or pass it in: ${SEE}`,
  };
}

/** `packages/model`, `apps/donor`, `coordinator`: a row of PACKAGE_FLOORS. */
function packageOf(path: string): string | undefined {
  const parts = path.split('/');
  const part = parts[0] === 'coordinator' ? parts[0] : parts.slice(0, 2).join('/');
  return part in PACKAGE_FLOORS ? part : undefined;
}

/** `@shoal/model/node` → `packages/model`, `@shoal/donor` → `apps/donor`. */
function named(specifier: string): string | undefined {
  const name = /^@shoal\/([^/]+)/.exec(specifier)?.[1];
  if (name === undefined) return undefined;
  if (name === 'coordinator') return name;
  return `apps/${name}` in PACKAGE_FLOORS ? `apps/${name}` : `packages/${name}`;
}

/** The first folder, or the file, below `coordinator/src`. */
function floorOf(path: string): string | undefined {
  return /^coordinator\/src\/([^/]+)/.exec(path)?.[1];
}

/** A row that names a later row would allow an import cycle. */
function tableFaults(table: FloorTable): Fault[] {
  const rows = Object.keys(table);
  return rows.flatMap((row, i) =>
    table[row]!.filter((below) => !rows.slice(0, i).includes(below)).map((below) => ({
      file: 'tools/lint/floors.ts',
      fault: `the row ${row} names ${below}, which is not above it in the table`,
      remedy: 'put the rows in order, the lowest floor first',
    })),
  );
}
