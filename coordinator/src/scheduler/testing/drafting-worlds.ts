import type { WorldCosts, WorldText } from './drafting-world.ts';

/**
 * As two cores take for the default model (the dense engine 0.17 ms a row and 0.8 ms a pass, measured 2026-11-30), and beside them
 * a tab and the main thread's work for its laps.
 */
export const WORLD_COSTS: Omit<WorldCosts, 'roundTripMs'> = {
  layerMs: 0.15,
  layerRowMs: 0.05,
  headMs: 0.2,
  headRowMs: 0.03,
  tabMs: 0.15,
  tabRowMs: 0.03,
  isOneMachine: false,
  noise: 0.08,
};

const UNSURE = { rightUnsure: 0.6, saysUnsure: 0.5, others: [0.4, 0.2, 0.1, 0.05], period: 0 };
const EASY: WorldText = { ...UNSURE, unsure: 0.12, rightSure: 0.985, saysSure: 0.97, byDepth: 1 };

/** Texts by how they can be drafted; the first two as the default model's module does on stories: 93 to 94 % at every depth. */
export const WORLD_TEXTS = {
  easy: EASY,
  'temperature 1': {
    unsure: 0.35,
    rightUnsure: 0.87,
    rightSure: 0.97,
    byDepth: 1,
    saysUnsure: 0.3,
    saysSure: 0.9,
    others: [0.3, 0.15, 0.1, 0.05],
    period: 0,
  },
  /** A module that was trained for one step. */
  'one step': { ...EASY, byDepth: 0.55 },
  hopeless: {
    unsure: 1,
    rightUnsure: 0.01,
    rightSure: 0.01,
    byDepth: 1,
    saysUnsure: 0.1,
    saysSure: 0.1,
    others: [0.003, 0.003, 0.003, 0.003],
    period: 0,
  },
  repeats: {
    unsure: 1,
    rightUnsure: 0.5,
    rightSure: 0.5,
    byDepth: 0.7,
    saysUnsure: 0.5,
    saysSure: 0.5,
    others: [0.2, 0.1, 0.05, 0.02],
    period: 40,
  },
} as const satisfies Readonly<Record<string, WorldText>>;
export type WorldTextName = keyof typeof WORLD_TEXTS;
