import { requireShape } from '../check-tensors.ts';
import { CheckpointError } from '../errors.ts';
import { isMoeLayer, type ModelConfig } from '../model-config.ts';
import { expertTensors, listDenseTensors, listTensorSpecs, type TensorSpec } from '../tensors.ts';
import { READABLE_TYPES } from './block-types.ts';
import type { Architecture } from './architectures.ts';
import type { GgufFiles } from './files.ts';
import { ggufNames, REDUNDANT, ROPE_FACTORS } from './names.ts';

/** Where a file has a tensor of the model. */
export type Place =
  /** Its rows, in order, from `firstRow` of all rows of the stored tensor. */
  | { kind: 'rows'; tensor: string; firstRow: number }
  /** Its rows, but those of each head in the order that ggml's RoPE wants: (x0, x[d/2]), (x1, x[d/2 + 1]), … */
  | { kind: 'heads'; tensor: string; headDim: number }
  /** For each head `nope` rows from the transpose of `tensor` [heads, kvLoraRank, nope], then `v` rows of `values`. */
  | { kind: 'latent'; tensor: string; values: string; nope: number; v: number };

/** The places of a model's tensors. */
export class Places {
  readonly #config: ModelConfig;
  readonly #files: GgufFiles;
  readonly #architecture: Architecture;
  readonly #found = new Map<string, Place | undefined>();

  constructor(config: ModelConfig, files: GgufFiles, architecture: Architecture) {
    this.#config = config;
    this.#files = files;
    this.#architecture = architecture;
  }

  /** Throws `missing-tensor`, naming the tensor as it should be called. */
  get(spec: TensorSpec): Place {
    const place = this.find(spec);
    if (place) return place;
    const [name] = ggufNames(spec.name).names;
    throw new CheckpointError('missing-tensor', this.#listedIn, name, 'is not stored, but the metadata requires it');
  }

  find(spec: TensorSpec): Place | undefined {
    if (!this.#found.has(spec.name)) this.#found.set(spec.name, this.#search(spec));
    return this.#found.get(spec.name);
  }

  get #listedIn(): string {
    return this.#files.files[0]!.name;
  }

  #search(spec: TensorSpec): Place | undefined {
    const { layer, names, expert } = ggufNames(spec.name);
    const tensor = names.find((name) => this.#files.tensors.has(name));
    const rows = spec.shape.length === 1 ? 1 : spec.shape[0]!;
    if (tensor !== undefined && expert) return { kind: 'rows', tensor, firstRow: expert.index * rows };
    if (tensor !== undefined) return this.#whole(spec, tensor);
    if (expert && expert.suffix === 'weight') return this.#expertElsewhere(layer!, expert, rows);
    return spec.name.endsWith('.kv_b_proj.weight') ? this.#latent(layer!) : undefined;
  }

  #whole({ name }: TensorSpec, tensor: string): Place {
    const { attention } = this.#config;
    const isPermuted =
      this.#architecture.permutesHeads && attention.kind === 'gqa' && /\.self_attn\.[qk]_proj\./.test(name);
    return isPermuted ? { kind: 'heads', tensor, headDim: attention.headDim } : { kind: 'rows', tensor, firstRow: 0 };
  }

  /** In a stack of gates and ups, or, in Mixtral's first files, in a tensor of its own. */
  #expertElsewhere(
    layer: number,
    { index, matrix }: { index: number; matrix: 'gate' | 'up' | 'down' },
    rows: number,
  ): Place | undefined {
    const both = `blk.${layer}.ffn_gate_up_exps.weight`;
    if (matrix !== 'down' && this.#files.tensors.has(both)) {
      return { kind: 'rows', tensor: both, firstRow: (2 * index + (matrix === 'gate' ? 0 : 1)) * rows };
    }
    const own = `blk.${layer}.ffn_${matrix}.${index}.weight`;
    return this.#files.tensors.has(own) ? { kind: 'rows', tensor: own, firstRow: 0 } : undefined;
  }

  #latent(layer: number): Place | undefined {
    const { attention } = this.#config;
    const [tensor, values] = [`blk.${layer}.attn_k_b.weight`, `blk.${layer}.attn_v_b.weight`];
    if (attention.kind !== 'mla' || !this.#files.tensors.has(tensor) || !this.#files.tensors.has(values))
      return undefined;
    return { kind: 'latent', tensor, values, nope: attention.qkNopeHeadDim, v: attention.vHeadDim };
  }

  /**
   * Checks that the file holds every tensor that its metadata implies, in the right shape and in a type that is read, and no other.
   * Reads no weights. Throws CheckpointError `missing-tensor`, `wrong-shape`, `wrong-dtype` or `unknown-tensor`.
   */
  check(): void {
    // What the config has been made from is used.
    const known = new Set(this.#architecture.readsRopeFactors ? [ROPE_FACTORS] : []);
    const use = (name: string, shape: readonly number[]): void => {
      if (known.has(name)) return;
      known.add(name);
      this.#checkTensor(name, shape);
    };
    for (const spec of this.#allTensors()) {
      const place = this.get(spec);
      if (place.kind === 'latent') {
        const { numAttentionHeads: heads, kvLoraRank } = this.#config.attention as {
          numAttentionHeads: number;
          kvLoraRank: number;
        };
        use(place.tensor, [heads, kvLoraRank, place.nope]);
        use(place.values, [heads, place.v, kvLoraRank]);
      } else {
        use(place.tensor, this.#storedShape(spec, place.tensor));
      }
    }
    for (const [name, { file }] of this.#files.tensors) {
      if (known.has(name) || REDUNDANT.some((pattern) => pattern.test(name))) continue;
      const detail = 'is not used by this version, so its effect would be lost: is general.architecture right?';
      throw new CheckpointError('unknown-tensor', file.name, name, detail);
    }
  }

  #allTensors(): TensorSpec[] {
    const config = this.#config;
    const experts = config.layerKinds.flatMap((_, layer) =>
      isMoeLayer(config, layer)
        ? Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert))
        : [],
    );
    return [...listDenseTensors(config), ...listTensorSpecs(experts)];
  }

  #storedShape(spec: TensorSpec, tensor: string): readonly number[] {
    const { nRoutedExperts } = this.#config;
    const [rows, ...columns] = spec.shape as [number, ...number[]];
    if (/\.ffn_gate_up_exps\./.test(tensor)) return [nRoutedExperts, 2 * rows, ...columns];
    return /_exps\./.test(tensor) ? [nRoutedExperts, ...spec.shape] : spec.shape;
  }

  #checkTensor(name: string, shape: readonly number[]): void {
    const { file, tensor } = this.#files.tensors.get(name)!;
    // A matrix of one row is stored as a vector.
    const squeezed = shape.length === 2 && shape[0] === 1 && tensor.shape.length === 1 ? shape.slice(1) : shape;
    requireShape(tensor.shape, squeezed, file.name, name);
    if (tensor.type.decode) return;
    const known = `this version reads ${READABLE_TYPES.join(', ')}`;
    const remedy = 'take a file in another quantisation, such as Q4_K_M, or the original model';
    throw new CheckpointError('wrong-dtype', file.name, name, `has the type ${tensor.type.name}; ${known}: ${remedy}`);
  }
}
