import { withoutText, wordsOf } from './identifiers.ts';
import { type Fault, lineAt, type SourceFile } from './source-files.ts';

/** A former second meaning of a word. The glossary in ARCHITECTURE.md defines each word. */
interface BannedWord {
  /** Matches a name's words in lower case: `numHalfBatches` is tested as "num half batches". */
  words: RegExp;
  /** Where it is banned; everywhere if absent. */
  within?: RegExp;
  /** Where it has its one meaning. */
  except?: RegExp;
  /** Public names, and names of libraries. */
  names?: readonly string[];
  use: string;
}

const BANNED: readonly BannedWord[] = [
  {
    words: /\blanes?\b/,
    except: /^packages\/(kernels|weights\/src\/dense)\/|^test\/bench\/kernels/,
    use: 'lane is a SIMD or subgroup lane: write micro-batch, channel or thread',
  },
  {
    words: /\bhalf batch(es)?\b/,
    names: ['halfBatches', 'HalfBatches', 'HALF_BATCHES', 'SHOAL_HALF_BATCHES'],
    use: 'micro-batch; only the option is called halfBatches',
  },
  {
    words: /\b(resident|pinned|pin)\b|\b(own|kept) (experts?|layers?)\b/,
    names: ['resident'],
    use: 'local (local expert, local layer); only the HTTP field is called resident',
  },
  {
    words: /\bpairs?\b/,
    within: /^(coordinator\/src\/|packages\/peer\/|packages\/kernels\/src\/(webgpu|wgsl|wasm|backend))/,
    names: ['memoryLinkPair', 'memoryChannelPair', 'relayedPair'],
    use: 'assignment: a row, an expert and its gate weight',
  },
  { words: /\bwish(es)?\b/, use: 'SamplingParams' },
  {
    words: /\bshadow\b/,
    // Of the DOM.
    names: ['shadowRoot', 'attachShadow'],
    use: 'probation: rows that are compared and not used',
  },
  { words: /\bself tests?\b/, use: 'known-answer test' },
  {
    words: /\bplans?\b|\bplanned\b/,
    within: /^(coordinator\/src\/(scheduler|http|laps|trust|access|timeline|base)|packages\/(weights|kernels|model))\//,
    use: 'plan is the placement plan or `shoal plan`: name what it is (layout, choice, schedule, parsed request)',
  },
  { words: /^text engine$/, use: 'Scheduler, or ForwardEngine for the dense engine' },
  {
    words: /\bwaits\b/,
    within: /^coordinator\/src\/scheduler\/queue\//,
    use: 'service rate, or the time until a place is free',
  },
  {
    words: /\badmission\b/,
    except: /^coordinator\/src\/(scheduler|console)\/|^test\/bench\//,
    use: 'admission is a place in the batch and room in the KV cache: write known-answer test or access',
  },
  {
    words: /\brouters?\b/,
    // Keys of published configs.
    except: /^packages\/model\/src\/(families|testing\/published-models)\//,
    names: ['routerOptions'],
    use: 'gate',
  },
  { words: /^(expert lap|lap request)$/, use: 'WorkItem' },
];

/** Finds names of files and symbols that use a word in a sense that the glossary gives to another. */
export function glossaryFaults(files: readonly SourceFile[]): Fault[] {
  return files.flatMap(({ path, text }) => {
    // They name the words.
    if (path.startsWith('tools/lint/')) return [];
    const banned = BANNED.filter(({ within, except }) => (within?.test(path) ?? true) && !except?.test(path));
    const fileName = path.split('/').at(-1)!.split('.')[0]!;
    const named = faultOf(banned, fileName);
    const faults: Fault[] = named ? [{ file: path, fault: `the file name uses ${fileName}`, remedy: named }] : [];
    const seen = new Set<string>();
    for (const { 0: name, index } of withoutText(text).matchAll(/[A-Za-z_$][\w$]*/g)) {
      // Metrics are public names.
      if (seen.has(name) || name.startsWith('shoal_')) continue;
      seen.add(name);
      const remedy = faultOf(banned, name);
      if (remedy) faults.push({ file: path, line: lineAt(text, index), fault: `the name ${name}`, remedy });
    }
    return faults;
  });
}

function faultOf(banned: readonly BannedWord[], name: string): string | undefined {
  const words = wordsOf(name).join(' ');
  return banned.find((rule) => rule.words.test(words) && !rule.names?.includes(name))?.use;
}
