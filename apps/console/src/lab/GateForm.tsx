import type { GateSetting, LabGate } from '@shoal/protocol';
import { Complaint } from '../playground/Field.tsx';
import { change, choices, faults, setValue, sweepOf } from './lab.ts';

/** Settings in words; others go by their names. */
const LABELS: Readonly<Record<string, string>> = {
  k: 'Experts of a token (k)',
  scoring: 'Scores',
  normTopkProb: 'Weights sum to 1',
  scaleWhenNormalised: 'Scale them then too',
  routedScalingFactor: 'Scale of weights',
  nGroup: 'Groups',
  topkGroup: 'Groups kept',
  groupScore: 'A group’s score',
  maxPeers: 'Tabs of a token (M)',
  capacity: 'Capacity in tokens (none: by the factor)',
  capacityFactor: 'Capacity factor',
  capacityTokenFraction: 'Capacity as a share of tokens (−1: none)',
  normalizeBeforeDropping: 'Normalise before dropping',
  batchPrioritizedRouting: 'Clear choices first',
  noiseScale: 'Noise (0: none)',
  seed: 'Seed',
  slotsPerExpert: 'Slots of an expert',
};

/** What is compared, before its values. */
const SWEPT: Readonly<Record<string, string>> = { maxPeers: 'M =', noiseScale: 'noise' };

/** A gate that can take the place of the model's. */
export function GateForm({ gate }: { gate: LabGate }) {
  const choice = choices.value[gate.name];
  if (!choice) return null;
  const sweep = sweepOf(gate);
  return (
    <fieldset class="gate">
      <legend>
        <label>
          <input
            type="checkbox"
            checked={choice.isChosen}
            onChange={(event) => change(gate.name, { isChosen: event.currentTarget.checked })}
          />{' '}
          {gate.title}
        </label>
      </legend>
      <p class="muted">
        {gate.source}. {gate.sees === 'sequence' ? 'Sees the whole text.' : 'Sees each token by itself.'}
      </p>
      {choice.isChosen && (
        <div class="gate-settings">
          {gate.settings.map((setting) => (
            <Setting gate={gate.name} setting={setting} value={choice.values[setting.name] ?? ''} />
          ))}
          {sweep && (
            <label class="check">
              <input
                type="checkbox"
                checked={choice.isSwept}
                onChange={(event) => change(gate.name, { isSwept: event.currentTarget.checked })}
              />{' '}
              Compare {SWEPT[sweep.name]} {sweep.values.join(', ')}
            </label>
          )}
        </div>
      )}
    </fieldset>
  );
}

function Setting({ gate, setting, value }: { gate: string; setting: GateSetting; value: string }) {
  const name = `${gate}.${setting.name}`;
  const fault = faults.value[name];
  const bound = {
    id: `field-${name}`,
    'aria-invalid': fault ? true : undefined,
    'aria-describedby': fault ? `error-${name}` : undefined,
  };
  const words = LABELS[setting.name] ?? setting.name;
  if (setting.kind === 'boolean') {
    const onChange = (checked: boolean): void => setValue(gate, setting.name, String(checked));
    return (
      <label class="check">
        <input
          type="checkbox"
          {...bound}
          checked={value === 'true'}
          onChange={(event) => onChange(event.currentTarget.checked)}
        />{' '}
        {words}
      </label>
    );
  }
  return (
    <div>
      <label for={`field-${name}`}>{words}</label>
      {setting.kind === 'choice' ? (
        <select {...bound} value={value} onChange={(event) => setValue(gate, setting.name, event.currentTarget.value)}>
          {setting.choices?.map((choice) => (
            <option value={choice}>{choice}</option>
          ))}
        </select>
      ) : (
        <input
          {...bound}
          inputMode={setting.kind === 'integer' ? 'numeric' : 'decimal'}
          autocomplete="off"
          value={value}
          onInput={(event) => setValue(gate, setting.name, event.currentTarget.value)}
        />
      )}
      <Complaint name={name} fault={fault} />
    </div>
  );
}
