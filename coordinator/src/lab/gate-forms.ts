import { GATES, type GateKind, type GateName, type ModelConfig, settingsOf, slotsPerSequence } from '@shoal/model';
import type { GateSetting, LabGate } from '@shoal/protocol';
import { z } from 'zod';

type Value = number | boolean | string;

/** What of a gate's JSON Schema a form needs. */
interface Property {
  type?: string;
  enum?: string[];
  default?: Value;
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
}

/**
 * Experts whose inputs are scaled are computed otherwise, for the model's own gate only; and that gives each expert one logit,
 * which is enough for one slot.
 */
const NOT_STUDIED = new Set(['scalesInput', 'slotsPerExpert']);

/** Beyond this, a bound is that of the number's type. */
const LARGE = 1e9;

/** Whether the model's experts are chosen within groups. */
export function ownGateName({ gate, sequenceGate }: ModelConfig): GateName {
  if (sequenceGate) return sequenceGate.name;
  return gate.topkGroup < gate.nGroup ? 'group-limited' : 'top-k';
}

/** The model's own gate, as far as it has a choice. */
export function ownSettings(config: ModelConfig): Record<string, Value> {
  if (config.sequenceGate) return config.sequenceGate.settings as Record<string, Value>;
  const all = Object.entries(settingsOf(config));
  return Object.fromEntries(all.filter(([name, value]) => value === true || !NOT_STUDIED.has(name)));
}

/** The gates of the table that the model can be run with, as a form shows them. What a gate leaves open begins with the model's own values. */
export function labGates(config: ModelConfig): LabGate[] {
  if (refusalOf(config) !== undefined) return [];
  return (Object.keys(GATES) as GateName[]).map((name) => {
    const { title, source, sees } = GATES[name];
    const gives = 'numLogits' in GATES[name] ? 'slots' : 'assignments';
    return { name, title, source, sees, gives, settings: settingsFor(name, config) };
  });
}

/** Why no gate can take the place of the model's; undefined if some can. */
export function refusalOf(config: ModelConfig): string | undefined {
  if (slotsPerSequence(config) !== undefined) {
    return 'This model’s gate scores slots and not experts, so no other gate can read its scores.';
  }
  if (!config.gate.scalesInput) return undefined;
  return 'This model’s gate scales the inputs of its experts, which no other gate does.';
}

/** The settings that a study begins with: the form's, changed by what was sent. */
export function withDefaults(
  name: GateName,
  config: ModelConfig,
  sent: Readonly<Record<string, Value>>,
): Record<string, Value> {
  const begun = settingsFor(name, config).flatMap(({ name: key, value }) => (value === null ? [] : [[key, value]]));
  return { ...Object.fromEntries(begun), ...sent };
}

function settingsFor(name: GateName, config: ModelConfig): GateSetting[] {
  const kind: GateKind = GATES[name] as GateKind;
  const schema = z.toJSONSchema(kind.settings, { io: 'input', unrepresentable: 'any' });
  const suits = suggestions(name, config);
  return Object.entries(schema.properties ?? {})
    .filter(([key]) => !NOT_STUDIED.has(key))
    .map(([key, property]) => settingOf(key, property as Property, suits[key]));
}

/** What suits a model that was trained with another gate; its own rules where the gate has them too. */
function suggestions(name: GateName, config: ModelConfig): Record<string, Value | undefined> {
  const { nRoutedExperts: experts } = config;
  const own = { ...settingsOf(config), ...(config.sequenceGate?.settings as Record<string, Value> | undefined) };
  if (name !== 'group-limited' || own.nGroup > 1) return { ...own, maxPeers: 2, noiseScale: 1 };
  const nGroup = [8, 4, 2].find((groups) => experts % groups === 0 && experts / groups >= own.k) ?? 1;
  return { ...own, nGroup, topkGroup: Math.max(1, nGroup / 2) };
}

function settingOf(name: string, property: Property, suits: Value | undefined): GateSetting {
  const { type, enum: choices, minimum, exclusiveMinimum, maximum } = property;
  const value = suits ?? property.default ?? null;
  if (choices) return { name, kind: 'choice', value, choices };
  if (type === 'boolean') return { name, kind: 'boolean', value };
  const min = minimum ?? exclusiveMinimum;
  return {
    name,
    kind: type === 'integer' ? 'integer' : 'number',
    value,
    ...(min !== undefined && min > -LARGE && { min }),
    ...(maximum !== undefined && maximum < LARGE && { max: maximum }),
  };
}
