import { z } from 'zod';
import { createRng } from '../rng.ts';
import { AssignmentList, type Assignments, checkTopK, type GateKind, gateError, type GateLayer } from './gate-kind.ts';
import { alike, range, scoreRow } from './scores.ts';
import { weightsOf } from './top-k.ts';

const settings = z.strictObject({
  k: z.int().min(1),
  /** What the weights are made of: scores of the logits, as in DeepSeek-V4, or nothing but the table, as in Roller et al. */
  scoring: z.enum(['softmax', 'sigmoid', 'sqrt-softplus', 'equal']).default('equal'),
  normTopkProb: z.boolean().default(true),
  routedScalingFactor: z.number().positive().finite().default(1),
});

type Settings = z.infer<typeof settings>;

/** A token's experts are those that a table has for its id, wherever it stands. */
export const hash: GateKind<Settings, Assignments> = {
  title: 'Hash of the token',
  source: 'Roller et al. 2021, §3; DeepSeek-V4 paper §2.1 (tid2eid)',
  sees: 'row',
  settings,
  open: (set, layer) => {
    const table = checkTable(set, layer);
    const { numExperts, vocabSize = 0 } = layer;
    const rule = { ...set, scaleWhenNormalised: true };
    return ({ logits, numRows, tokenIds }) => {
      if (tokenIds?.length !== numRows) {
        throw gateError(
          'hash',
          'tokenIds',
          tokenIds && `${tokenIds.length} ids`,
          `give it the ids of ${numRows} tokens`,
        );
      }
      const scores = alike(logits, numExperts);
      const assignments = new AssignmentList();
      for (let row = 0; row < numRows; row++) {
        const id = tokenIds[row]!;
        if (!(id >= 0 && id < vocabSize))
          throw gateError('hash', 'tokenIds', id, `the vocabulary has ${vocabSize} tokens`);
        const experts = range(set.k).map((i) => table[id * set.k + i]!);
        if (set.scoring === 'equal') scores.fill(1);
        else scoreRow(set.scoring, logits.subarray(row * numExperts, (row + 1) * numExperts), scores);
        const weights = weightsOf(rule, scores, experts);
        for (const [i, expert] of experts.entries()) assignments.add(expert, weights[i]!);
        assignments.endRow();
      }
      return assignments.finish(logits);
    };
  },
};

/** The layer's table [vocabSize, k]. Throws a ModelError where it is too short, or names an expert that there isn't, or one twice. */
function checkTable({ k }: Settings, layer: GateLayer): ArrayLike<number> {
  checkTopK('hash', k, layer);
  const { hashTable, vocabSize, numExperts } = layer;
  if (vocabSize === undefined) throw gateError('hash', 'vocabSize', vocabSize, 'give it the size of the vocabulary');
  if (!hashTable)
    throw gateError('hash', 'hashTable', hashTable, `give it ${k} experts for each of ${vocabSize} tokens`);
  if (hashTable.length !== vocabSize * k) {
    const problem = `${vocabSize} tokens of ${k} experts need ${vocabSize * k} entries`;
    throw gateError('hash', 'hashTable', `${hashTable.length} entries long`, problem);
  }
  for (let i = 0; i < hashTable.length; i++) {
    const expert = hashTable[i]!;
    const isThere = Number.isInteger(expert) && expert >= 0 && expert < numExperts;
    const token = Math.floor(i / k);
    if (!isThere) throw gateError('hash', 'hashTable', expert, `token ${token}'s experts are 0 to ${numExperts - 1}`);
    for (let j = token * k; j < i; j++) {
      if (hashTable[j] === expert) throw gateError('hash', 'hashTable', expert, `token ${token} has this expert twice`);
    }
  }
  return hashTable;
}

/** A table of random, distinct experts for each token (Roller et al. 2021, §3.1, "random hash"): [vocabSize, k]. */
export function randomHashTable(k: number, numExperts: number, vocabSize: number, seed: number): Uint16Array {
  const rng = createRng(seed);
  const table = new Uint16Array(vocabSize * k);
  const experts = range(numExperts);
  for (let token = 0; token < vocabSize; token++) {
    for (let i = 0; i < k; i++) {
      const j = i + Math.floor(rng() * (numExperts - i));
      [experts[i], experts[j]] = [experts[j]!, experts[i]!];
      table[token * k + i] = experts[i]!;
    }
  }
  return table;
}
