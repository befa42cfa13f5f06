import type { Rule } from '../facts.ts';
import { COVERAGE_RULES } from './coverage.ts';
import { MACHINE_RULES } from './machine.ts';
import { SPEED_RULES } from './speed.ts';
import { TAB_RULES } from './tabs.ts';

/** Everything that can need an operator's attention. */
export const RULES: readonly Rule[] = [...MACHINE_RULES, ...SPEED_RULES, ...TAB_RULES, ...COVERAGE_RULES];
