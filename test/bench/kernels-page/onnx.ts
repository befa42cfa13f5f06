import { f16ToF32 } from '@shoal/model';
import { matrixOf, shardLayout, type ExpertShape, type MatrixLayout } from '@shoal/weights';

/** Types of AttributeProto and TensorProto in onnx.proto. */
const ATTRIBUTE_INT = 2;
const TENSOR_FLOAT = 1;
const TENSOR_UINT8 = 2;
const BLOCK = 32;

/**
 * Builds an ONNX model of the expert in a q4 or q8 shard: three MatMulNBits over the same codes and scales, with
 * SiLU and a product in between. Input `x` and output `y` are float32 [numRows, hiddenSize].
 */
export function onnxExpert(shape: ExpertShape, shard: Uint8Array, numRows: number, accuracyLevel: 0 | 4): Uint8Array {
  const layout = shardLayout(shape);
  const matMul = (input: string, { name, rows, cols }: MatrixLayout, output: string): Uint8Array =>
    node('MatMulNBits', [input, `${name}_codes`, `${name}_scales`], output, {
      K: cols,
      N: rows,
      bits: shape.quant === 'q4' ? 4 : 8,
      block_size: BLOCK,
      accuracy_level: accuracyLevel,
    });
  const initializers = layout.matrices.flatMap((matrix) => {
    const { codes, scales } = codesAndScales(shape, matrix, shard);
    const blocks = [matrix.rows, matrix.colBlocks];
    return [
      tensor(`${matrix.name}_codes`, TENSOR_UINT8, [...blocks, codes.length / (matrix.rows * matrix.colBlocks)], codes),
      tensor(`${matrix.name}_scales`, TENSOR_FLOAT, blocks, new Uint8Array(scales.buffer)),
    ];
  });
  const dims = [numRows, shape.hiddenSize];
  const graph = message(
    ...[
      matMul('x', matrixOf(layout, 'gate'), 'gate'),
      matMul('x', matrixOf(layout, 'up'), 'up'),
      node('Sigmoid', ['gate'], 'sigmoid'),
      node('Mul', ['gate', 'sigmoid'], 'silu'),
      node('Mul', ['silu', 'up'], 'activations'),
      matMul('activations', matrixOf(layout, 'down'), 'y'),
    ].map((bytes) => field(1, bytes)),
    field(2, text('expert')),
    ...initializers.map((bytes) => field(5, bytes)),
    field(11, valueInfo('x', dims)),
    field(12, valueInfo('y', dims)),
  );
  return message(
    field(1, 10), // ir_version
    field(7, graph),
    field(8, message(field(1, text('')), field(2, 17))),
    field(8, message(field(1, text('com.microsoft')), field(2, 1))),
  );
}

/** MatMulNBits' inputs: codes [rows][colBlocks][BLOCK × bits / 8] with a zero of 8 or 128, scales [rows][colBlocks]. */
function codesAndScales(
  { quant }: ExpertShape,
  { rows, colBlocks, valuesOffset, scalesOffset, scalesBytes }: MatrixLayout,
  shard: Uint8Array,
): { codes: Uint8Array; scales: Float32Array } {
  const blockBytes = quant === 'q4' ? 16 : 32;
  const codes = new Uint8Array(rows * colBlocks * blockBytes);
  const scales = new Float32Array(rows * colBlocks);
  const halves = new Uint16Array(shard.buffer, shard.byteOffset + scalesOffset, scalesBytes / 2);
  const values = shard.subarray(valuesOffset);
  for (let block = 0; block < colBlocks; block++) {
    for (let row = 0; row < rows; row++) {
      const target = row * colBlocks + block;
      scales[target] = f16ToF32(halves[block * rows + row]!);
      if (quant === 'q8') {
        for (let col = 0; col < BLOCK; col++) {
          codes[target * 32 + col] = values[((2 * block + (col >> 4)) * rows + row) * 16 + (col & 15)]! ^ 0x80;
        }
        continue;
      }
      const code = (col: number): number =>
        (values[(block * rows + row) * 16 + (col & 15)]! >> (col < 16 ? 0 : 4)) & 15;
      for (let i = 0; i < 16; i++) codes[target * 16 + i] = code(2 * i) | (code(2 * i + 1) << 4);
    }
  }
  return { codes, scales };
}

function node(
  type: string,
  inputs: readonly string[],
  output: string,
  attributes: Readonly<Record<string, number>> = {},
): Uint8Array {
  return message(
    ...inputs.map((input) => field(1, text(input))),
    field(2, text(output)),
    field(3, text(`make_${output}`)),
    field(4, text(type)),
    ...Object.entries(attributes).map(([name, value]) =>
      field(5, message(field(1, text(name)), field(3, value), field(20, ATTRIBUTE_INT))),
    ),
    field(7, text(type === 'MatMulNBits' ? 'com.microsoft' : '')),
  );
}

function tensor(name: string, dataType: number, dims: readonly number[], bytes: Uint8Array): Uint8Array {
  return message(...dims.map((dim) => field(1, dim)), field(2, dataType), field(8, text(name)), field(9, bytes));
}

function valueInfo(name: string, dims: readonly number[]): Uint8Array {
  const shape = message(...dims.map((dim) => field(1, message(field(1, dim)))));
  const type = message(field(1, TENSOR_FLOAT), field(2, shape));
  return message(field(1, text(name)), field(2, message(field(1, type))));
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Encodes a field of a protobuf message: a varint for a number, otherwise a length and the bytes. */
function field(number: number, value: number | Uint8Array): Uint8Array {
  if (typeof value === 'number') return Uint8Array.from([...varint(number << 3), ...varint(value)]);
  return message(Uint8Array.from([...varint((number << 3) | 2), ...varint(value.length)]), value);
}

function varint(value: number): number[] {
  const bytes = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

function message(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
