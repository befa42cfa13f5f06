/** The error of packing the tensors of one kind. */
export interface SquaredError {
  /** As `mlp.experts.gate_proj` or `self_attn.kv_b_proj`. */
  kind: string;
  /** Σ (packed − source)² */
  error: number;
  /** Σ source² */
  norm: number;
  values: number;
}

/** A tensor's name without its layer and expert, `model.` and `.weight`. */
export function kindOf(tensorName: string): string {
  return tensorName
    .replace(/^model\.(layers\.\d+\.)?/, '')
    .replace(/\.experts\.\d+\./, '.experts.')
    .replace(/\.weight$/, '');
}

/** Sums the errors of one job. */
export class ErrorSums {
  readonly wanted: boolean;
  readonly #byKind = new Map<string, SquaredError>();

  constructor(wanted: boolean) {
    this.wanted = wanted;
  }

  add(kind: string, source: Float32Array, packed: Float32Array): void {
    let error = 0;
    let norm = 0;
    for (let i = 0; i < source.length; i++) {
      const value = source[i]!;
      const difference = packed[i]! - value;
      error += difference * difference;
      norm += value * value;
    }
    addTo(this.#byKind, { kind, error, norm, values: source.length });
  }

  result(): { errors?: SquaredError[] } {
    return this.wanted ? { errors: [...this.#byKind.values()] } : {};
  }
}

/** Sums errors by kind. */
export function sumByKind(errors: Iterable<SquaredError>): SquaredError[] {
  const byKind = new Map<string, SquaredError>();
  for (const one of errors) addTo(byKind, one);
  return [...byKind.values()].sort((a, b) => (a.kind < b.kind ? -1 : 1));
}

function addTo(byKind: Map<string, SquaredError>, { kind, error, norm, values }: SquaredError): void {
  const sum = byKind.get(kind) ?? { kind, error: 0, norm: 0, values: 0 };
  byKind.set(kind, { kind, error: sum.error + error, norm: sum.norm + norm, values: sum.values + values });
}
