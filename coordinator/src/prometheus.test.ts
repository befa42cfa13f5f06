import { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parser } from '@prometheus-io/lezer-promql';
import { Registry } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ROOT_DIR } from './config.ts';
import { registerClusterMetrics } from './console/cluster-metrics.ts';
import { lapHistogram, type MetricSources, registerMetrics } from './console/metrics.ts';
import { registerWatchMetrics } from './console/watch-metrics.ts';
import { registerHttpMetrics } from './http/metrics.ts';
import type { DatabaseCluster } from './cluster/database-cluster.ts';

interface RuleFile {
  groups: {
    rules: { alert: string; expr: string; labels: { severity: string }; annotations: Record<string, string> }[];
  }[];
}
interface Dashboard {
  templating: { list: { query: string | { query: string } }[] };
  panels: { title: string; targets: { expr: string }[] }[];
}
interface RuleTests {
  tests: { input_series: { series: string }[]; alert_rule_test: { alertname: string }[] }[];
}

const text = (path: string): string => readFileSync(join(ROOT_DIR, 'deploy', path), 'utf8');
const rules = (parse(text('prometheus/shoal.rules.yml')) as RuleFile).groups.flatMap((group) => group.rules);
const tests = (parse(text('prometheus/shoal.test.yml')) as RuleTests).tests;
const dashboard = JSON.parse(text('grafana/shoal.json')) as Dashboard;

/** Labels by the name of each series that a coordinator serves at /metrics; nothing is read, so that no coordinator is needed. */
function servedSeries(): Map<string, readonly string[]> {
  const registry = new Registry();
  const sources = { scheduler: { latency: { events: new EventEmitter() } }, dispatcher: { figures: {} }, records: {} };
  registerMetrics(registry, sources as unknown as MetricSources);
  registerHttpMetrics(registry);
  registerClusterMetrics(registry, { bus: { counts: {} } } as unknown as DatabaseCluster);
  registerWatchMetrics(registry, { attention: () => [], alerts: () => ({ delivered: 0, failed: 0 }) });
  lapHistogram(registry);
  const series = new Map<string, readonly string[]>([['up', []]]);
  for (const metric of registry.getMetricsAsArray()) {
    const { name, type, labelNames = [] } = metric as unknown as { name: string; type?: string; labelNames?: string[] };
    const isHistogram = type === 'histogram' || metric.constructor.name === 'Histogram';
    for (const suffix of isHistogram ? ['_bucket', '_sum', '_count'] : ['']) series.set(name + suffix, labelNames);
  }
  // Node's figures are registered as plain gauges with names of their own.
  series.set('process_resident_memory_bytes', []);
  return series;
}
const served = servedSeries();

/** What a query names, with the labels that it selects; and where it is no PromQL. */
function readQuery(query: string): { series: { name: string; labels: string[] }[]; faults: string[] } {
  const source = query.replaceAll('$__rate_interval', '1m');
  const series: { name: string; labels: string[] }[] = [];
  const faults: string[] = [];
  parser.parse(source).iterate({
    enter({ type, from, to }) {
      const words = source.slice(from, to);
      if (type.isError) faults.push(`at ${from}: ${source.slice(Math.max(0, from - 20), to + 20)}`);
      if (type.name === 'VectorSelector') series.push({ name: /^\w+/.exec(words)![0], labels: [] });
      if (
        type.name === 'LabelName' &&
        series.length > 0 &&
        source
          .slice(to)
          .trimStart()
          .match(/^(=|!=|=~|!~)/)
      )
        series.at(-1)!.labels.push(words);
    },
  });
  return { series, faults };
}

const queries = [
  ...rules.map(({ alert, expr }) => [`rule ${alert}`, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [`panel ${title}`, expr] as const)),
];
/** Prometheus adds the first two. */
const COMMON_LABELS = new Set(['job', 'instance', 'le']);

describe('deploy/prometheus and deploy/grafana', () => {
  it('have queries that Prometheus can read, over metrics and labels that coordinators have', () => {
    expect(queries.length).toBeGreaterThan(40);
    for (const [where, query] of queries) {
      const { series, faults } = readQuery(query);
      expect(faults, `${where}: ${query}`).toEqual([]);
      expect(series.length, where).toBeGreaterThan(0);
      for (const { name, labels } of series) {
        expect([...served.keys()], where).toContain(name);
        const known = served.get(name)!;
        expect(
          labels.filter((label) => !COMMON_LABELS.has(label) && !known.includes(label)),
          `${where}: ${name}`,
        ).toEqual([]);
      }
    }
  });

  it('finds queries that are wrong', () => {
    expect(readQuery('sum(rate(shoal_laps_total[5m])').faults).not.toEqual([]);
    expect(readQuery('rate(no_such_metric_total{state="x"}[5m]) > 1')).toEqual({
      series: [{ name: 'no_such_metric_total', labels: ['state'] }],
      faults: [],
    });
  });

  it('have rules that say what is the matter and how urgent it is, each under a name of its own', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { alert, labels, annotations } of rules) {
      expect(alert).toMatch(/^Shoal[A-Z]\w+$/);
      expect(['critical', 'warning']).toContain(labels.severity);
      expect(annotations['summary']).toMatch(/\S/);
      expect(annotations['description']).toMatch(/\.$/);
    }
  });

  it('have tests for promtool that name existing rules and metrics', () => {
    const names = new Set(rules.map(({ alert }) => alert));
    for (const { input_series: series, alert_rule_test: alerts } of tests) {
      for (const { alertname } of alerts) expect(names).toContain(alertname);
      for (const { series: selector } of series) expect([...served.keys()]).toContain(/^\w+/.exec(selector)![0]);
    }
  });

  it('have choices of coordinators over a metric that all have', () => {
    for (const { query } of dashboard.templating.list) {
      const found = typeof query === 'string' ? undefined : /^label_values\((\w+)/.exec(query.query)?.[1];
      if (found !== undefined) expect([...served.keys()]).toContain(found);
    }
  });
});
