"""The table of answers and targets with their right verdicts, and texts that are meant to hurt."""

import pathlib

MILLION = 10**6
BOXES = 10**5


def table():
  """(plain, latex, answer, target, why): the verdicts of `same_answer` and of `same_latex`."""
  text = (pathlib.Path(__file__).parent / 'pairs.tsv').read_text(encoding='utf-8')
  rows = [line.split('\t') for line in text.split('\n')[1:] if line]
  return [(float(plain), float(latex), *rest) for plain, latex, *rest in rows]


HOSTILE = {
  'digits': '9' * MILLION,
  'fraction_of_digits': f'\\frac{{{"9" * MILLION}}}{{{"7" * MILLION}}}',
  'decimal': '0.' + '3' * MILLION,
  'signs': '-' * MILLION + '1',
  'dots': '.' * MILLION,
  'commas': '1' + ',000' * MILLION,
  'blanks': '5' + ' ' * MILLION + '5',
  'slashes': '1/' * MILLION,
  'open': '(' * 10 * MILLION,
  'nested': '(' * 10 * MILLION + '1' + ')' * 10 * MILLION,
  'braces': '{' * MILLION + '5' + '}' * MILLION,
  'closing_braces': '}' * MILLION,
  'boxes': '\\boxed{' * BOXES,
  'spaced_boxes': '\\boxed ' * BOXES,
  'unclosed': '\\boxed{1}' + '\\boxed{' * BOXES,
  'full_boxes': '\\boxed{1}\\boxed{2}' * BOXES,
  'box_of_boxes': '\\boxed{' * BOXES + '}' * BOXES,
  'fboxes': '\\fbox{' * BOXES,
  'backslashes': '\\' * MILLION,
  'odd_backslashes': '\\boxed{' + '\\' * (MILLION + 1) + '}',
  'boxed_blanks': '\\boxed' + ' \n' * MILLION,
  'hashes': '#' * MILLION,
  'hashed_blanks': '####' + ' ' * MILLION,
  'hashed_commas': '#### 1' + ',111' * MILLION + ',',
  'hashed_digits': '#### ' + '1' * MILLION + ',1',
  'tags': '<answer>' * MILLION,
  'closing_tags': '</answer>' * MILLION,
  'pairs_of_tags': '<answer>a</answer>' * BOXES,
  'thoughts': '<think>' * MILLION + '</think>' * MILLION,
  'dollars': '$' * MILLION,
  'fractions': '\\frac{' * MILLION,
  'texts': '\\text{' * MILLION,
  'tower': '9^{' * 1000 + '9' + '}' * 1000,
  'factorials': '9' + '!' * 1000,
  'exponent': '1e' + '9' * MILLION,
  'huge_exponent': '1e999999999',
  'equals': 'x=' * MILLION,
  'letters': 'A ' * MILLION,
  'answer_is': 'answer is ' * MILLION,
  'scores': 'score: ' * MILLION,
  'brackets': '[[' * MILLION,
  'nul': '\x00' * 1000,
  'surrogate': '\ud800',
  'right_to_left': '\u202e5',
  'combining': 'e' + '\u0301' * 1000,
}
