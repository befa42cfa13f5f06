import type { SettingForm, SettingValue, SettingView } from '@shoal/protocol';
import { formatNumber, formatShare } from '../../format.ts';

/** A value as people read it. */
export function valueWords({ kind }: SettingForm, value: SettingValue): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  if (typeof value === 'number') return kind === 'share' ? formatShare(value) : formatNumber(value);
  return value === '' ? 'nothing' : `“${value}”`;
}

/** Where the value is from, and what it overrides; empty for Shoal’s own default. `day`: of the change. */
export function sourceWords({ form, default: initial, defaultFrom, changed, value }: SettingView, day: string): string {
  const isOwn = defaultFrom === 'Shoal';
  const said = valueWords(form, initial);
  if (changed === null) return isOwn ? '' : `As ${defaultFrom} says.`;
  const set = `Set by ${changed.by}, ${day}.`;
  if (isOwn) return `${set} The default is ${said}.`;
  return value === initial
    ? `${set} ${defaultFrom} says the same.`
    : `${set} It overrides ${defaultFrom}, which says ${said}.`;
}

/** A field's text as the coordinator takes it; undefined where it is no number. */
export function valueOf({ kind }: SettingForm, text: string): SettingValue | undefined {
  if (kind !== 'whole' && kind !== 'share') return text;
  const number = Number(text);
  if (text.trim() === '' || Number.isNaN(number)) return undefined;
  return kind === 'share' ? number / 100 : number;
}

/** A value as its field has it: shares in percent. */
export function fieldText({ kind }: SettingForm, value: SettingValue | null): string {
  if (value === null) return '';
  return kind === 'share' && typeof value === 'number' ? String(Number((value * 100).toFixed(4))) : String(value);
}
