import { gateError, type GateKind, type GateLayer, type GateRows } from './gate-kind.ts';
import { deviceLimited } from './device-limited.ts';
import { expertChoice } from './expert-choice.ts';
import { groupLimited } from './group-limited.ts';
import { hash } from './hash.ts';
import { noisyTopK } from './noisy-top-k.ts';
import { soft } from './soft.ts';
import { top1Capacity } from './top-1-capacity.ts';
import { top2Capacity } from './top-2-capacity.ts';
import { topK } from './top-k.ts';

/** Every gate, by name. */
export const GATES = {
  'top-k': topK,
  'group-limited': groupLimited,
  'device-limited': deviceLimited,
  'top-1-capacity': top1Capacity,
  'top-2-capacity': top2Capacity,
  'noisy-top-k': noisyTopK,
  hash,
  'expert-choice': expertChoice,
  soft,
} as const;

export type GateName = keyof typeof GATES;

type ChoiceOf<Name extends GateName> = ReturnType<ReturnType<(typeof GATES)[Name]['open']>>;

/**
 * Opens a gate of the table for a layer. `settings` are checked against the gate's schema and the layer, and the logits of every
 * call for their number and for NaN and ∞: each is a ModelError that names the key.
 */
export function openGate<Name extends GateName>(
  name: Name,
  settings: unknown,
  layer: GateLayer,
): (rows: GateRows) => ChoiceOf<Name> {
  const kind = GATES[name] as GateKind;
  const checked = checkSettings(name, kind, settings);
  const width = kind.numLogits?.(checked, layer) ?? layer.numExperts;
  if (layer.bias) checkFinite(name, 'bias', layer.bias, 1, layer.numExperts);
  const choose = kind.open(checked, layer);
  return (rows) => {
    checkFinite(name, 'logits', rows.logits, rows.numRows, width);
    if (rows.noiseLogits) checkFinite(name, 'noiseLogits', rows.noiseLogits, rows.numRows, width);
    return choose(rows) as ChoiceOf<Name>;
  };
}

function checkSettings(name: GateName, kind: GateKind, settings: unknown): unknown {
  const parsed = kind.settings.safeParse(settings);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const key = issue.code === 'unrecognized_keys' ? issue.keys[0]! : String(issue.path[0] ?? 'settings');
  const value =
    issue.path.length > 0 || issue.code === 'unrecognized_keys' ? (settings as Record<string, unknown>)[key] : settings;
  throw gateError(name, key, value, issue.message);
}

/** Throws unless there are `numRows` rows of `width` finite values. */
function checkFinite(name: GateName, key: string, values: ArrayLike<number>, numRows: number, width: number): void {
  if (values.length !== numRows * width) {
    throw gateError(name, key, `${values.length} values`, `${numRows} rows of ${width} are ${numRows * width}`);
  }
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) continue;
    const place = `row ${Math.floor(i / width)}, column ${i % width}`;
    throw gateError(name, key, values[i], `${place} is not finite: a weight is damaged, or the numbers are too large`);
  }
}
