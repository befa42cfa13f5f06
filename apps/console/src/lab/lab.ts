import { computed, signal } from '@preact/signals';
import type { GateSetting, LabFacts, LabGate, LabRequest, LabStudy } from '@shoal/protocol';
import { fetchFacts, fetchStudy, Refused } from './api.ts';

/** The model's own gate, in requests and in this page's lists. */
export const OWN = 'own';

/** A gate as the form has it. */
export interface GateChoice {
  isChosen: boolean;
  /** Whether the setting of `SWEEPS` takes all its values, one after the other. */
  isSwept: boolean;
  /** As typed. */
  values: Record<string, string>;
}

/** One request, and what came of it. */
export interface Look {
  key: string;
  gate: string;
  /** What tells it from the gate's other looks, where one setting takes several values. */
  note: string;
  /** Whether it is shown as a picture, and not only in the table. */
  isPictured: boolean;
  state: 'waiting' | 'running' | 'finished' | 'failed' | 'stopped';
  study: LabStudy | null;
  fault: string | null;
}

const TEXT =
  'Many years ago, when the towns were young, there was a playful bear named Clover. All the other bears knew her well.';

export const facts = signal<LabFacts | null>(null);
/** Why there are none. */
export const factsFault = signal<string | null>(null);
export const text = signal(TEXT);
/** Tabs to count with, as typed; empty for those that there are. */
export const tabs = signal('');
export const choices = signal<Record<string, GateChoice>>({});
/** By `gate` or `gate.setting`. */
export const faults = signal<Record<string, string>>({});
export const looks = signal<Look[]>([]);
export const isRunning = computed(() => looks.value.some(({ state }) => state === 'running' || state === 'waiting'));
/** The tabs that studies count with. */
export const tabCount = computed(() => (tabs.value.trim() === '' ? (facts.value?.tabs ?? 0) : Number(tabs.value)));

let running: AbortController | null = null;

export async function loadFacts(): Promise<void> {
  try {
    facts.value = await fetchFacts();
    factsFault.value = null;
    if (facts.value.tabs < 2 && tabs.value === '') tabs.value = '4';
    choices.value = Object.fromEntries(
      facts.value.gates.map((gate) => [gate.name, choices.value[gate.name] ?? begin(gate)]),
    );
  } catch (error) {
    factsFault.value = `Couldn’t find out which gates there are: ${(error as Error).message}`;
  }
}

function begin({ name, settings }: LabGate): GateChoice {
  const values = Object.fromEntries(
    settings.map((setting) => [setting.name, setting.value === null ? '' : String(setting.value)]),
  );
  return { isChosen: name === 'expert-choice', isSwept: false, values };
}

export function change(gate: string, changed: Partial<GateChoice>): void {
  const choice = choices.value[gate];
  if (choice) choices.value = { ...choices.value, [gate]: { ...choice, ...changed } };
}

export function setValue(gate: string, name: string, value: string): void {
  const choice = choices.value[gate];
  if (!choice) return;
  change(gate, { values: { ...choice.values, [name]: value } });
  const { [`${gate}.${name}`]: _, ...others } = faults.value;
  faults.value = others;
}

/** The values that a setting takes to show what it changes, where a gate has one of these. */
export function sweepOf(gate: LabGate): { name: string; values: number[] } | null {
  const has = (name: string): boolean => gate.settings.some((setting) => setting.name === name);
  if (has('maxPeers'))
    return { name: 'maxPeers', values: Array.from({ length: Math.min(8, tabCount.value) }, (_, i) => i + 1) };
  if (has('noiseScale')) return { name: 'noiseScale', values: [0, 0.25, 0.5, 1, 2, 4] };
  return null;
}

type Values = LabRequest['settings'];

/** The typed settings; what is wrong is noted in `faults`. */
function readSettings(gate: LabGate, typed: Record<string, string>): Values {
  const read: Values = {};
  for (const setting of gate.settings) {
    const value = (typed[setting.name] ?? '').trim();
    if (value === '' && setting.value === null) continue;
    const fault = faultOf(setting, value);
    if (fault) faults.value = { ...faults.value, [`${gate.name}.${setting.name}`]: fault };
    else read[setting.name] = valueOf(setting, value);
  }
  return read;
}

function valueOf({ kind }: GateSetting, value: string): number | boolean | string {
  if (kind === 'boolean') return value === 'true';
  return kind === 'choice' ? value : Number(value);
}

/** What is wrong with what was typed, as far as this page knows; the coordinator knows the rest. */
function faultOf({ kind, min, max }: GateSetting, value: string): string | null {
  if (kind === 'boolean' || kind === 'choice') return null;
  const number = Number(value);
  const least = min === undefined ? '' : ` from ${min}`;
  const range = `${kind === 'integer' ? 'a whole number' : 'a number'}${least}${max === undefined ? '' : ` to ${max}`}`;
  const isWrong =
    value === '' ||
    !Number.isFinite(number) ||
    (kind === 'integer' && !Number.isInteger(number)) ||
    (min !== undefined && number < min) ||
    (max !== undefined && number > max);
  return isWrong ? `Type ${range}.` : null;
}

interface Plan extends Pick<Look, 'gate' | 'note' | 'isPictured'> {
  settings: Values;
}

/** The requests that the form asks for: the model's own gate first. */
function plans(): Plan[] {
  const planned: Plan[] = [{ gate: OWN, note: '', isPictured: true, settings: {} }];
  for (const gate of facts.value?.gates ?? []) {
    const choice = choices.value[gate.name];
    if (!choice?.isChosen) continue;
    const settings = readSettings(gate, choice.values);
    planned.push({ gate: gate.name, note: '', isPictured: true, settings });
    const sweep = choice.isSwept ? sweepOf(gate) : null;
    for (const value of sweep?.values ?? []) {
      const note = `${sweep!.name} ${value}`;
      planned.push({ gate: gate.name, note, isPictured: false, settings: { ...settings, [sweep!.name]: value } });
    }
  }
  return planned;
}

export function stop(): void {
  running?.abort();
}

/** Looks at the text with the model's gate and every chosen one, one after the other. */
export async function look(): Promise<void> {
  stop();
  faults.value = {};
  const planned = plans();
  const count = tabs.value.trim();
  if (text.value.trim() === '') faults.value = { text: 'Type a text.' };
  if (count !== '' && !(Number.isInteger(Number(count)) && Number(count) >= 1 && Number(count) <= 64)) {
    faults.value = { ...faults.value, tabs: 'Type a whole number from 1 to 64, or nothing.' };
  }
  if (Object.keys(faults.value).length > 0) return;
  const control = new AbortController();
  running = control;
  looks.value = planned.map(({ gate, note, isPictured }, i) => {
    const key = `${i} ${gate} ${note}`;
    return { key, gate, note, isPictured, state: 'waiting', study: null, fault: null };
  });
  const request = { text: text.value, tabs: count === '' ? null : Number(count) };
  for (const [i, { gate, settings }] of planned.entries()) {
    if (running !== control) return;
    await lookOnce(i, { ...request, gate, settings }, control);
  }
}

async function lookOnce(index: number, request: LabRequest, control: AbortController): Promise<void> {
  const show = (changed: Partial<Look>): void => {
    if (running !== control) return;
    looks.value = looks.value.map((each, i) => (i === index ? { ...each, ...changed } : each));
  };
  if (control.signal.aborted) return show({ state: 'stopped' });
  show({ state: 'running' });
  try {
    show({ state: 'finished', study: await fetchStudy(request, control.signal) });
  } catch (error) {
    if (control.signal.aborted) return show({ state: 'stopped' });
    show({ state: 'failed', fault: (error as Error).message });
    const param = error instanceof Refused ? error.param : null;
    const at = param?.startsWith('settings.') ? `${request.gate}.${param.slice('settings.'.length)}` : param;
    if (at !== null && at !== undefined) faults.value = { ...faults.value, [at]: (error as Error).message };
    // What is wrong with the text is wrong for every gate.
    if (at === 'text' && request.gate === OWN) control.abort();
  }
}
