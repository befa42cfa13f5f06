/** The syntax tree that `@huggingface/jinja` makes of a template, as far as it is read here. */
export type Node =
  | { type: 'Program'; body: Node[] }
  | { type: 'If'; test: Node; body: Node[]; alternate: Node[] }
  | For
  | { type: 'Break' | 'Continue' | 'Comment' }
  | { type: 'Set'; assignee: Node; value: Node | null; body: Node[] }
  | Macro
  | CallStatement
  | { type: 'FilterStatement'; filter: Named; body: Node[] }
  | Member
  | Call
  | Identifier
  | { type: 'IntegerLiteral' | 'FloatLiteral'; value: number }
  | { type: 'StringLiteral'; value: string }
  | { type: 'ArrayLiteral'; value: Node[] }
  | { type: 'TupleLiteral'; value: Node[] }
  | { type: 'ObjectLiteral'; value: Map<Node, Node> }
  | Binary
  | { type: 'FilterExpression'; operand: Node; filter: Named }
  | { type: 'SelectExpression'; lhs: Node; test: Node }
  | { type: 'TestExpression'; operand: Node; negate: boolean; test: Identifier }
  | { type: 'UnaryExpression'; operator: { value: string }; argument: Node }
  | Slice
  | KeywordArgument
  | { type: 'SpreadExpression' | 'KeywordSpreadExpression'; argument: Node }
  | { type: 'Ternary'; condition: Node; trueExpr: Node; falseExpr: Node };

export interface For {
  type: 'For';
  loopvar: Node;
  iterable: Node;
  body: Node[];
  defaultBlock: Node[];
}
export interface Macro {
  type: 'Macro';
  name: Identifier;
  args: Parameter[];
  body: Node[];
}
export interface CallStatement {
  type: 'CallStatement';
  call: Call;
  callerArgs: Parameter[] | null;
  body: Node[];
}
export interface Member {
  type: 'MemberExpression';
  object: Node;
  property: Node;
  computed: boolean;
}
export interface Call {
  type: 'CallExpression';
  callee: Node;
  args: Node[];
}
export interface Identifier {
  type: 'Identifier';
  value: string;
}
export interface Binary {
  type: 'BinaryExpression';
  operator: { value: string };
  left: Node;
  right: Node;
}
export interface Slice {
  type: 'SliceExpression';
  start?: Node;
  stop?: Node;
  step?: Node;
}
export interface KeywordArgument {
  type: 'KeywordArgumentExpression';
  key: Identifier;
  value: Node;
}
/** A filter, with arguments or without. */
export type Named = Identifier | Call;
/** A macro's parameter, with a default or without. */
export type Parameter = Identifier | KeywordArgument;
