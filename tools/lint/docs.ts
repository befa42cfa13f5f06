import { existsSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { type Fault, lineAt, ROOT, type SourceFile } from './source-files.ts';

const LINK = /!?\[(?:[^\]\\]|\\.)*\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)|^\[[^\]]+\]:\s*(\S+)/gm;

/** Finds broken relative links to files and headings. */
export function linkFaults(files: readonly SourceFile[]): Fault[] {
  return files.flatMap(({ path, text }) => {
    const prose = withoutCode(text);
    return [...prose.matchAll(LINK)].flatMap((match) => {
      const link = match[1] ?? match[2]!;
      const fault = deadLink(path, link);
      return fault === undefined
        ? []
        : [{ file: path, line: lineAt(text, match.index), fault, remedy: 'correct the link, or the name it leads to' }];
    });
  });
}

/** The ```mermaid blocks of a text, in order. */
export function mermaidBlocks(text: string): string[] {
  return [...text.matchAll(/^```mermaid\n([\s\S]*?)^```$/gm)].map((match) => match[1]!);
}

function deadLink(path: string, link: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined;
  const [file, anchor] = link.split('#') as [string, string?];
  const target = file === '' ? path : posix.join(posix.dirname(path), decodeURIComponent(file));
  if (!existsSync(join(ROOT, target))) return `links to ${link}, and ${target} does not exist`;
  if (!anchor || !target.endsWith('.md')) return undefined;
  if (anchorsOf(readFileSync(join(ROOT, target), 'utf8')).has(anchor)) return undefined;
  return `links to ${link}, and ${target} has no such heading`;
}

/** GitHub's anchors of headings: lower case, without punctuation, spaces as hyphens, repeats numbered. */
export function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading] of withoutCode(text).matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const base = heading!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-');
    let anchor = base;
    for (let i = 1; anchors.has(anchor); i++) anchor = `${base}-${i}`;
    anchors.add(anchor);
  }
  for (const [, id] of text.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(id!);
  return anchors;
}

/** Blanks code blocks and code spans (except in headings); every other character keeps its place. */
function withoutCode(text: string): string {
  return text
    .replace(/^(```|~~~)[\s\S]*?^\1/gm, blank)
    .replace(/^(?!#).*$/gm, (line) => line.replace(/(`+)[^`]+\1/g, blank));
}

const blank = (text: string): string => text.replace(/[^\n]/g, ' ');
