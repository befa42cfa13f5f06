import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Container, PodSpec } from 'kubernetes-types/core/v1';
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { variableOf } from './base/options.ts';
import { CONFIG_OPTIONS, parseConfig, ROOT_DIR } from './config.ts';

const FOLDER = join(ROOT_DIR, 'deploy/kubernetes');

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels: Record<string, string> };
  spec: Record<string, unknown>;
}

const manifests: Manifest[] = readdirSync(FOLDER).flatMap((name) =>
  parseAllDocuments(readFileSync(join(FOLDER, name), 'utf8'), { merge: true }).map(
    (document) => document.toJS() as Manifest,
  ),
);
const named = (kind: string, name = 'shoal'): Manifest =>
  manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name)!;
const template = named('StatefulSet').spec['template'] as { metadata: { labels: object }; spec: PodSpec };
const [container] = template.spec.containers as [Container];

/** What TypeScript says of manifests as literals of Kubernetes' types, which know all fields: unknown and wrong ones are errors. */
function faultsOf(all: readonly Manifest[]): string {
  const dir = mkdtempSync(join(tmpdir(), 'shoal-kubernetes-'));
  try {
    symlinkSync(join(ROOT_DIR, 'node_modules'), join(dir, 'node_modules'));
    const program = all.map((manifest, n) => {
      const [group = '', version] = `core/${manifest.apiVersion}`.split('/').slice(-2);
      const module = `kubernetes-types/${group.replace('.k8s.io', '')}/${version}`;
      return `import type { ${manifest.kind} as Kind${n} } from '${module}';\nexport const m${n}: Kind${n} = ${JSON.stringify(manifest)};\n`;
    });
    writeFileSync(join(dir, 'manifests.ts'), program.join(''));
    const tsc = join(ROOT_DIR, 'node_modules/typescript/bin/tsc');
    const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--types', '', '--lib', 'es2022'];
    const { stdout } = spawnSync(process.execPath, [tsc, ...flags, 'manifests.ts'], { cwd: dir, encoding: 'utf8' });
    return stdout;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** A copy of a manifest, changed. */
function changed(manifest: Manifest, change: (copy: Manifest) => void): Manifest {
  const copy = structuredClone(manifest);
  change(copy);
  return copy;
}

describe('deploy/kubernetes', () => {
  it('has no field that Kubernetes does not know, and none of a wrong type', () => {
    expect(faultsOf(manifests)).toBe('');
    const container = (copy: Manifest): Record<string, unknown> =>
      (copy.spec as { template: { spec: { containers: [Record<string, unknown>] } } }).template.spec.containers[0];
    const wrong = [
      changed(named('StatefulSet'), (copy) => (container(copy)['readynessProbe'] = container(copy)['readinessProbe'])),
      changed(named('StatefulSet'), (copy) => (copy.spec['replicas'] = '3')),
      changed(named('PodDisruptionBudget'), (copy) => (copy.spec['maxUnavailble'] = 1)),
    ];
    const faults = faultsOf(wrong);
    for (const [n, name] of ['readynessProbe', 'number', 'maxUnavailble'].entries())
      expect(faults.split('\n').filter((line) => /error/.test(line))[n]).toContain(name);
  });

  it('gives the coordinator options that exist, by values that it takes', () => {
    const env = container.env!;
    const known = new Set([...Object.values(CONFIG_OPTIONS).map(variableOf), 'HF_HOME']);
    expect(env.map(({ name }) => name).filter((name) => !known.has(name))).toEqual([]);
    const given = Object.fromEntries(env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])));
    const config = parseConfig([], { ...given, SHOAL_ANNOUNCE: '192.0.2.4' });
    const ports = container.ports!.map(({ name, protocol = 'TCP', containerPort, hostPort }) => [
      name,
      protocol,
      containerPort,
      hostPort,
    ]);
    expect(ports).toEqual([
      ['http', 'TCP', config.port, undefined],
      // Tabs are told the node's address and this port.
      ['webrtc', 'UDP', config.udpPorts!.first, config.udpPorts!.first],
    ]);
    expect(config.udpPorts!.last).toBe(config.udpPorts!.first);
    expect(env.find(({ name }) => name === 'SHOAL_ANNOUNCE')!.valueFrom).toEqual({
      fieldRef: { fieldPath: 'status.hostIP' },
    });
    expect(1000 * template.spec.terminationGracePeriodSeconds!).toBeGreaterThanOrEqual(config.drainTimeoutMs + 5_000);
  });

  it('refers to secrets, volumes, ports, services and pods that it has', () => {
    const secrets = container.env!.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef ?? []);
    const secret = named('Secret') as unknown as { stringData: object };
    for (const { name, key } of secrets)
      expect([name, Object.keys(secret.stringData).includes(key)]).toEqual(['shoal', true]);
    const claims = named('StatefulSet').spec['volumeClaimTemplates'] as { metadata: { name: string } }[];
    const volumes = [...template.spec.volumes!.map(({ name }) => name), ...claims.map(({ metadata }) => metadata.name)];
    for (const { name } of container.volumeMounts!) expect(volumes).toContain(name);
    const mounts = container.volumeMounts!.map(({ mountPath }) => mountPath);
    for (const name of ['SHOAL_CACHE', 'HF_HOME'])
      expect(mounts.some((path) => container.env!.find((each) => each.name === name)!.value!.startsWith(path))).toBe(
        true,
      );
    const selectors = [
      (named('StatefulSet').spec['selector'] as { matchLabels: object }).matchLabels,
      named('Service').spec['selector'],
      named('Service', 'shoal-coordinators').spec['selector'],
      (named('PodDisruptionBudget').spec['selector'] as { matchLabels: object }).matchLabels,
      (named('NetworkPolicy').spec['podSelector'] as { matchLabels: object }).matchLabels,
    ];
    for (const selector of selectors) expect(selector).toEqual(template.metadata.labels);
    expect(named('StatefulSet').spec['serviceName']).toBe('shoal-coordinators');
    expect(JSON.stringify(named('Ingress'))).toContain('"backend":{"service":{"name":"shoal","port":{"name":"http"}}}');
  });

  it('has no root, no disk but its volumes, and asks for health where the coordinator tells it', () => {
    const user = Number(/useradd .*--uid (\d+)/.exec(readFileSync(join(ROOT_DIR, 'Dockerfile'), 'utf8'))![1]);
    expect(template.spec.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: user,
      runAsGroup: user,
      fsGroup: user,
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(template.spec).not.toHaveProperty('hostNetwork');
    expect(container.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    const probes = [container.startupProbe, container.livenessProbe, container.readinessProbe];
    expect(probes.map((probe) => probe!.httpGet!.path)).toEqual(['/healthz', '/healthz', '/readyz']);
  });
});
