import type { DonorInfo } from '@shoal/protocol';
import { formatCount, formatPlural } from './format.ts';

/** Whether another tab is needed now, in a sentence or two. */
export function needText({ model, need }: DonorInfo): string {
  const all = model.layers * model.expertsPerLayer;
  const { servingTabs, uncovered, thin, replicas } = need;
  if (all === 0) return 'This coordinator holds the whole model itself and needs no tabs at the moment.';
  if (servingTabs === 0) return 'Your tab would be the first: the coordinator computes everything itself now.';
  if (uncovered > 0) {
    const lacking = `${formatCount(uncovered)} of ${formatPlural(all, 'expert')}`;
    return `Your tab is needed: ${lacking} of the model ${uncovered === 1 ? 'is' : 'are'} in no tab yet.`;
  }
  const served = `${servedText(all, servingTabs)}`;
  if (thin > 0) return `${served}; ${formatCount(thin)} of them have fewer than ${replicas} copies, so your tab helps.`;
  const copies = replicas > 1 ? `, each by ${replicas} or more` : '';
  return `${served}${copies}. Another tab shares the work and stands in when one leaves.`;
}

/** All experts of the model, if tabs serve them all. */
export function coverageText({ model, need }: DonorInfo): string | undefined {
  const all = model.layers * model.expertsPerLayer;
  if (all === 0 || need.uncovered > 0 || need.servingTabs === 0) return undefined;
  return `${servedText(all, need.servingTabs)}.`;
}

function servedText(experts: number, tabs: number): string {
  return `All ${formatPlural(experts, 'expert')} are served by ${formatPlural(tabs, 'tab')}`;
}
