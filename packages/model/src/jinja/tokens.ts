/** A token of `@huggingface/jinja`'s lexer. */
export interface Token {
  value: string;
  type: string;
}

const OPENING = new Set(['OpenParen', 'OpenSquareBracket', 'OpenCurlyBracket']);
const CLOSING = new Set(['CloseParen', 'CloseSquareBracket', 'CloseCurlyBracket']);
/** What a sum's operand ends at. */
const BOUNDS = new Set(
  'Text Comment OpenStatement CloseStatement OpenExpression CloseExpression Comma Colon Equals ComparisonBinaryOperator'.split(
    ' ',
  ),
);
const WORDS = new Set(['and', 'or', 'not', 'in', 'if', 'else', 'elif', 'is']);

const isWord = (token: Token | undefined, ...words: string[]): boolean =>
  token?.type === 'Identifier' && words.includes(token.value);

/** Changes what the library's parser reads unlike Jinja's. */
export const asJinja = (tokens: readonly Token[]): Token[] => concatBeforeSums(testsAsFilters(tokens));

/** `~` binds closer than `+` and `-`, for the library as close: such an operand gets parentheses. */
function concatBeforeSums(tokens: readonly Token[]): Token[] {
  const out: Token[] = [];
  const operands = [newOperand(0, false)];
  const end = (isBeforeSum: boolean): void => {
    const { start, hasConcat, isAfterSum } = operands.pop()!;
    if (!hasConcat || !(isAfterSum || isBeforeSum)) return;
    out.splice(start, 0, { value: '(', type: 'OpenParen' });
    out.push({ value: ')', type: 'CloseParen' });
  };
  for (const [at, token] of tokens.entries()) {
    const isAdditive = token.type === 'AdditiveBinaryOperator';
    const isBound = BOUNDS.has(token.type) || (WORDS.has(token.value) && token.type === 'Identifier');
    if (CLOSING.has(token.type)) end(false);
    else if (isAdditive && token.value === '~') operands.at(-1)!.hasConcat = true;
    // "is" and "is not" belong to a test, which binds closer.
    else if (isAdditive || (isBound && !isWord(token, 'is') && !isWord(tokens[at - 1], 'is'))) {
      end(isAdditive);
      operands.push(newOperand(out.length + 1, isAdditive));
    }
    out.push(token);
    if (OPENING.has(token.type)) operands.push(newOperand(out.length, false));
  }
  return out;
}

const newOperand = (start: number, isAfterSum: boolean) => ({ start, hasConcat: false, isAfterSum });

/** The library's tests have no arguments, its filters have. */
function testsAsFilters(tokens: readonly Token[]): Token[] {
  const out: Token[] = [];
  for (let at = 0; at < tokens.length; at++) {
    const nameAt = at + (isWord(tokens[at + 1], 'not') ? 2 : 1);
    const end = isWord(tokens[at], 'is') ? argumentEnd(tokens, nameAt + 1) : 0;
    if (end === 0) {
      out.push(tokens[at]!);
      continue;
    }
    const value = tokens
      .slice(at, nameAt + 1)
      .map((token) => token.value)
      .join(' ');
    const argument = tokens.slice(nameAt + 1, end);
    const isEnclosed = argument[0]!.type === 'OpenParen';
    out.push({ value: '|', type: 'Pipe' }, { value, type: 'Identifier' });
    if (isEnclosed) out.push(...argument);
    else out.push({ value: '(', type: 'OpenParen' }, ...argument, { value: ')', type: 'CloseParen' });
    at = end - 1;
  }
  return out;
}

/** Where a test's argument ends; 0 if it has none. */
function argumentEnd(tokens: readonly Token[], start: number): number {
  const first = tokens[start];
  if (!first || tokens[start - 1]?.type !== 'Identifier') return 0;
  if (first.type === 'OpenParen' || first.type === 'OpenSquareBracket') return closedAt(tokens, start);
  if (first.type === 'StringLiteral' || first.type === 'NumericLiteral') return start + 1;
  if (first.type !== 'Identifier' || WORDS.has(first.value)) return 0;
  let end = start + 1;
  while (tokens[end]?.type === 'Dot' || tokens[end]?.type === 'OpenSquareBracket') {
    end = tokens[end]!.type === 'Dot' ? end + 2 : closedAt(tokens, end);
  }
  return end;
}

/** The place after the bracket that closes the one here. */
function closedAt(tokens: readonly Token[], start: number): number {
  let depth = 0;
  for (let at = start; at < tokens.length; at++) {
    if (OPENING.has(tokens[at]!.type)) depth++;
    if (CLOSING.has(tokens[at]!.type) && --depth === 0) return at + 1;
  }
  return tokens.length;
}
