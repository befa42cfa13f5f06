import { describe, expect, it } from 'vitest';
import { withinSteps } from './budget.ts';
import { PythonTemplate } from './template.ts';
import { toJson } from './text.ts';

const MANY = 'range(90000)';
/** Doubles x so often that a copy of it would take all memory. */
const doubling = (start: string, twice: string): string =>
  `{% set x = namespace(v=${start}) %}{% for i in range(50) %}{% set x.v = ${twice} %}{% endfor %}`;

describe('a template that would take hours or all memory', () => {
  it.each([
    `{% for a in ${MANY} %}{% for b in ${MANY} %}{% endfor %}{% endfor %}`,
    `{% macro m(n) %}{{ m(n - 1) ~ m(n - 1) if n else '' }}{% endmacro %}{{ m(60) }}`,
    `{% for a in ${MANY} %}{{ ${MANY} | sum }}{% endfor %}`,
    `{% for a in ${MANY} %}{{ ${MANY} | map('string') | join }}{% endfor %}`,
    `{% for a in ${MANY} %}{% set b = range(100000) | list %}{% endfor %}`,
    `{% for a in ${MANY} if ${MANY} | select('odd') | list | length %}{% endfor %}`,
    // Texts.
    "{{ 'a' * 500000000 }}",
    "{{ ('a' * 90000) | replace('a', 'a' * 90000) }}",
    "{{ ('a' * 90000).replace('', 'a' * 90000) }}",
    `{{ ('a' * 90000).join(${MANY} | map('string')) }}`,
    `{{ ${MANY} | join('a' * 90000) }}`,
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>999999999}'.format('a') }}",
    "{{ 'a'.center(999999999) }}",
    "{{ '1'.zfill(999999999) }}",
    "{{ 'a' | indent(999999999, true) }}",
    `{{ ${MANY} | list | tojson(indent=9000) }}`,
    "{{ [[1]] | tojson(indent='a' * 900000000) }}",
    `{% set x = 'a' * 9000000 %}{% for a in ${MANY} %}{{ x }}{% endfor %}`,
    `{% set x = 'a' * 900000 %}{% for a in ${MANY} %}{% if 'b' in x %}{% endif %}{% endfor %}`,
    `{% set x = 'a' * 900000 %}{% for a in ${MANY} %}{% set b = x[0] %}{% endfor %}`,
    `{% set x = 'a' * 900000 %}{% for a in ${MANY} %}{% set b = x.strip() | length %}{% endfor %}`,
    doubling("'ab'", 'x.v + x.v'),
    doubling("'ab'", 'x.v ~ x.v'),
    doubling("'ab' | safe", 'x.v + x.v'),
    // Lists.
    '{{ [] * 900000000 }}',
    '{{ [1, 2] * 900000000 }}',
    doubling('[1]', 'x.v + x.v'),
    ...['x.v | string', 'x.v | tojson'].map((use) => `${doubling('[1]', '[x.v, x.v]')}{{ ${use} }}`),
    `${doubling('[1]', '[x.v, x.v]')}{% set y = x.v %}${doubling('[1]', '[x.v, x.v]')}{{ x.v == y }}`,
  ])('%s ends soon', (source) => {
    expect(() => new PythonTemplate(source).render({}, 100_000)).toThrow('too many steps');
  });

  it.each(['{{ 9 ** 99999 }}', '{{ (9 ** 4096) ** 4096 }}', doubling('9', 'x.v * x.v'), '{{ 9 ** (9 ** 4000) }}'])(
    '%s ends, as no int has so many digits',
    (source) => {
      expect(() => new PythonTemplate(source).render({})).toThrow(/digits|power/);
    },
  );

  it('is not read if it is longer than any', () => {
    expect(() => new PythonTemplate(' '.repeat(200_000))).toThrow('200000 characters, more than the 131072');
  });

  it('has the next rendering begin anew', () => {
    const loop = new PythonTemplate('{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}x');
    expect(() => loop.render({ n: 50_000 })).toThrow('too many steps');
    expect(loop.render({ n: 100 })).toBe('x');
    expect(() => loop.render({ n: 100 }, 1_000)).toThrow('too many steps');
    expect(loop.render({ n: 100 })).toBe('x');
    expect(() => withinSteps(5, () => loop.render({ n: 100 }))).not.toThrow();
    expect(toJson(Array.from({ length: 1_000 }, () => 1))).toHaveLength(3_000);
  });

  it('may take the more the more it is given', () => {
    const pairs = new PythonTemplate(
      '{% for a in messages %}{% for b in messages %}{% endfor %}{% endfor %}{{ messages | length }}',
    );
    const chat = (length: number) => ({
      messages: Array.from({ length }, () => ({ role: 'user', content: '' })),
    });
    expect(pairs.render(chat(400))).toBe('400');
  });
});
