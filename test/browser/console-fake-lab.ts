import { GATES, type GateName, parseModelConfig } from '@shoal/model';
import { smallConfigJson } from '@shoal/model/testing';
import type { LabFacts, LabLayer, LabRequest, LabStudy } from '@shoal/protocol';
import { assignmentLayer, slotLayer } from '../../apps/console/src/lab/testing/studies.ts';
import { labGates, ownSettings } from '../../coordinator/src/lab/gate-forms.ts';

const EXPERTS = 16;
const LAYERS = [1, 2, 3];

/** The coordinator's forms of all gates, for a model of 16 experts. */
export function fakeLabFacts(): LabFacts {
  const config = parseModelConfig({ ...smallConfigJson, n_routed_experts: EXPERTS });
  return {
    model: 'tiny-stories',
    own: { title: 'Top k', settings: ownSettings(config) },
    layers: LAYERS,
    experts: EXPERTS,
    expertsPerToken: 2,
    tabs: 3,
    maxTokens: 256,
    gates: labGates(config),
  };
}

/** Scripted choices: made up on purpose, the same each time. */
export function fakeStudy({ text, gate, settings, tabs }: LabRequest): LabStudy {
  const words = ['<|begin|>', ...text.split(/(?= )/)];
  const layerOf = (layer: number): LabLayer => {
    if (gate === 'soft') {
      const combine = words.map((_, t) => Array.from({ length: EXPERTS }, (_, e) => 1 / (2 + ((t + e * layer) % 9))));
      return slotLayer(layer, { experts: EXPERTS, slotsPerExpert: 1, combine });
    }
    const drops = gate.includes('capacity');
    const chosen = words.map((_, t): [number, number][] =>
      drops && t % 3 === 2
        ? []
        : [[(t * layer) % EXPERTS, 0.7], ...(drops ? [] : [[(t * layer + 5) % EXPERTS, 0.3] as [number, number]])],
    );
    const dropped = words.flatMap((_, t): [number, number][] => (drops && t % 3 === 2 ? [[t, t % EXPERTS]] : []));
    return assignmentLayer(layer, EXPERTS, chosen, dropped);
  };
  return {
    model: 'tiny-stories',
    gate,
    title: GATES[gate as GateName]?.title ?? 'Top k',
    isOwn: gate === 'own',
    settings,
    tokens: words.map((word, id) => ({ id, text: word })),
    experts: EXPERTS,
    nll: gate === 'own' ? 1.25 : 2.5,
    tabs: tabs ?? 3,
    tabsAreAssumed: tabs != null,
    layers: LAYERS.map(layerOf),
  };
}
