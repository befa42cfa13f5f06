/** What the name of a routed expert's tensor says. */
export interface ExpertPart {
  /** The name of its layer, with a dot at the end. */
  layer: string;
  expert: number;
  part: 'gate' | 'up' | 'down';
  kind: 'weight' | 'bias';
}

const EXPERT_PART = /^(.*\.)mlp\.experts\.(\d+)\.(gate|up|down)_proj\.(weight|bias)$/;

/** undefined if it is not the name of a routed expert's tensor. */
export function expertPart(name: string): ExpertPart | undefined {
  const [, layer, expert, part, kind] = EXPERT_PART.exec(name) ?? [];
  if (layer === undefined) return undefined;
  return { layer, expert: Number(expert), part: part as ExpertPart['part'], kind: kind as ExpertPart['kind'] };
}
