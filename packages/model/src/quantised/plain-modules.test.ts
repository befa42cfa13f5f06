import { describe, expect, it } from 'vitest';
import { PlainModules } from './plain-modules.ts';

const lists = (entries: string[], module: string): boolean => new PlainModules(entries).has(module);

describe('PlainModules', () => {
  it.each([
    [['lm_head'], 'lm_head'],
    [['model.layers.3.self_attn'], 'model.layers.3.self_attn.q_proj'],
    [['model.layers.1.self_attn*'], 'model.layers.1.self_attn.q_proj'],
    [['*.mlp.router', 'model.layers.*.self_attn'], 'model.layers.12.self_attn'],
    [['re:.*self_attn.*'], 'model.layers.12.self_attn.k_proj'],
    [['re:.*mlp\\.(gate|up|gate_up|down)_proj.*'], 'model.layers.0.mlp.up_proj'],
    [['re:.*mlp\\.gate$'], 'model.layers.0.mlp.gate'],
    [['re:.*((q|k)_proj|o_proj)'], 'model.layers.0.self_attn.k_proj'],
  ])('%j lists %s', (entries, module) => {
    expect(lists(entries, module)).toBe(true);
  });

  it.each([
    [['lm_head'], 'model.lm_head'],
    [['model.layers.1'], 'model.layers.12.self_attn.q_proj'],
    [['model.layers.1.self_attn*'], 'model.layers.11.self_attn.q_proj'],
    [['re:.*mlp\\.(gate|up|down)_proj.*'], 'model.layers.0.mlp.experts.0.up_proj'],
    [['re:mlp\\.up_proj'], 'model.layers.0.mlp.up_proj'],
    [['re:.*mlp\\.gate$'], 'model.layers.0.mlp.gate_proj'],
    // Neither is understood, so neither says anything.
    [['re:.*(a+)+$'], `model.${'a'.repeat(40)}`],
    [['re:.*\\d+'], 'model.layers.0'],
    [['re:model.layers.1'], 'model.layers.1'],
  ])('%j does not list %s', (entries, module) => {
    expect(lists(entries, module)).toBe(false);
  });

  it('takes no longer than a name deserves', () => {
    expect(lists([`${'*a'.repeat(500)}b`], 'a'.repeat(1000))).toBe(false);
    expect(lists([`re:${'(a|b)'.repeat(6)}`], 'aaaaaa')).toBe(true);
    expect(lists([`re:${'(a|b)'.repeat(100)}`], 'a'.repeat(100))).toBe(false);
    const many = Array.from({ length: 5000 }, (_, i) => `re:x${i}$`);
    expect([lists(many, 'x7'), lists(many, 'x4999')]).toEqual([true, false]);
  });
});
