import { describe, expect, it } from 'vitest';
import { calendarFaults } from './calendar.ts';
import { anchorsOf, linkFaults, mermaidBlocks } from './docs.ts';
import { sizeFaults } from './file-size.ts';
import { glossaryFaults } from './glossary.ts';
import { withoutText, wordsOf } from './identifiers.ts';
import { floorFaults } from './imports.ts';
import { lineAt } from './source-files.ts';

const faultsOf = (found: { line?: number; fault: string }[]): string[] => found.map(({ fault }) => fault);

describe('floorFaults', () => {
  const at = (path: string, text: string): string[] => faultsOf(floorFaults([{ path, text }]));

  it('finds an import of a higher package, type-only ones and subpaths included', () => {
    const text = `import type { Peer } from '@shoal/peer';\nexport { open } from '@shoal/kernels/node';\nawait import('@shoal/coordinator');`;
    expect(at('packages/model/src/x.ts', text)).toEqual([
      'packages/model imports packages/peer',
      'packages/model imports packages/kernels',
      'packages/model imports coordinator',
    ]);
    expect(at('packages/peer/src/x.ts', `import { run } from '@shoal/kernels';`)).toEqual([]);
  });

  it('finds an import of another package by its path', () => {
    expect(at('packages/weights/src/x.ts', `import { f } from '../../model/src/f16.ts';`)).toEqual([
      'imports ../../model/src/f16.ts by its path',
    ]);
  });

  it('finds an import that runs upwards inside the coordinator, except in tests', () => {
    const text = `import { Swarm } from '../swarm/swarm.ts';\nimport { x } from './lap.ts';\nimport { y } from '../base/clock.ts';`;
    expect(at('coordinator/src/laps/x.ts', text)).toEqual(['coordinator/src/laps imports swarm (../swarm/swarm.ts)']);
    expect(at('coordinator/src/laps/x.test.ts', text)).toEqual([]);
    expect(at('coordinator/src/core.ts', text.replaceAll('../', './'))).toEqual([]);
  });
});

describe('calendarFaults', () => {
  const at = (path: string, text: string): string[] => faultsOf(calendarFaults([{ path, text }]));

  it('finds what reads the system’s clock, except in tests and where a date is meant', () => {
    const text = 'const a = Date.now();\nconst b = new Date();\nconst c = { now: Date.now };\nconst d = new Date;';
    expect(at('coordinator/src/swarm/x.ts', text)).toEqual([
      'reads the system’s clock (Date.now)',
      'reads the system’s clock (Date())',
      'reads the system’s clock (Date.now)',
      'reads the system’s clock (new Date)',
    ]);
    expect(calendarFaults([{ path: 'apps/console/src/x.tsx', text }])[2]!.line).toBe(3);
    expect(at('coordinator/src/swarm/x.test.ts', text)).toEqual([]);
    expect(at('coordinator/src/base/event-log.ts', text)).toEqual([]);
  });

  it('lets dates be that are made of numbers or text', () => {
    const text = "// Date.now()\nDate.parse('2026'); Date.UTC(2026); new Date(ms); performance.now(); 'Date.now()';";
    expect(at('coordinator/src/swarm/x.ts', text)).toEqual([]);
  });
});

describe('glossaryFaults', () => {
  const at = (path: string, text: string): string[] => faultsOf(glossaryFaults([{ path, text }]));

  it('finds a banned word in the name of a symbol or a file, however it is written', () => {
    expect(at('coordinator/src/laps/x.ts', 'const numHalfBatches = LANE_COUNT;')).toEqual([
      'the name numHalfBatches',
      'the name LANE_COUNT',
    ]);
    expect(at('coordinator/src/http/shadow-rows.ts', '')).toEqual(['the file name uses shadow-rows']);
  });

  it('lets comments, strings, public names and the one right place be', () => {
    const text = "/* lane */ const a = 'lane'; // lane\nconst { halfBatches } = `lane ${a}`;";
    expect(at('coordinator/src/laps/x.ts', text)).toEqual([]);
    expect(at('packages/kernels/src/x.ts', 'const lane = 1;')).toEqual([]);
  });

  it('sees the code in a template', () => {
    expect(withoutText('a`b ${c} d`')).toBe('a   ${c}   ');
    expect(wordsOf('WebGPUBackend')).toEqual(['web', 'gpu', 'backend']);
  });
});

describe('linkFaults', () => {
  const at = (text: string): string[] => faultsOf(linkFaults([{ path: 'docs/X.md', text }]));

  it('finds links to files and headings that are not there', () => {
    expect(at('[a](../README.md) [b](gone.md) [c](../README.md#no-such-heading) [d](https://e.org/gone.md)')).toEqual([
      'links to gone.md, and docs/gone.md does not exist',
      'links to ../README.md#no-such-heading, and README.md has no such heading',
    ]);
    expect(at('`[a](gone.md)`\n```\n[a](gone.md)\n```\n![i](gone.png)')).toEqual([
      'links to gone.png, and docs/gone.png does not exist',
    ]);
  });

  it('names headings as GitHub does', () => {
    const text = '# Folders, and who may import whom\n## `shoal plan`\n## A lap\n## A lap\n```\n# no heading\n```';
    expect([...anchorsOf(text)]).toEqual(['folders-and-who-may-import-whom', 'shoal-plan', 'a-lap', 'a-lap-1']);
  });
});

describe('mermaidBlocks', () => {
  it('takes what stands between the fences', () => {
    expect(mermaidBlocks('a\n```mermaid\nflowchart LR\n  a --> b\n```\n```ts\nx\n```')).toEqual([
      'flowchart LR\n  a --> b\n',
    ]);
  });
});

describe('sizeFaults', () => {
  it('finds a file over 400 lines', () => {
    expect(sizeFaults([{ path: 'a.ts', text: 'x\n'.repeat(400) }])).toEqual([]);
    expect(faultsOf(sizeFaults([{ path: 'a.ts', text: 'x\n'.repeat(402) }]))).toEqual([
      'has 402 lines, 2 more than the limit of 400',
    ]);
  });
});

describe('lineAt', () => {
  it('counts from 1', () => {
    expect([lineAt('a\nb', 0), lineAt('a\nb', 2)]).toEqual([1, 2]);
  });
});
