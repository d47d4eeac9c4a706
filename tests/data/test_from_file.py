"""Problems of files: formats, fields, the split, answers, errors that name the place."""

import json
import sys

import numpy as np
import pytest

from rljax import data, verifiers
from rljax.data.listed import question_key

GSM8K = [
  {
    'question': f'A shop sells {i} apples for ${i * 10}. What do {n} cost?',
    'answer': f'One costs $10.\n{n}*10=<<{n}*10={n * 10}>>{n * 10}\n#### {n * 10:,}',
  }
  for i in range(2, 12)
  for n in range(95, 105)
]


def write(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
  return str(path)


@pytest.fixture(scope='module')
def gsm8k(tmp_path_factory):
  return write(tmp_path_factory.mktemp('data') / 'gsm8k.jsonl', GSM8K)


def test_gsm8k_works_as_it_is(gsm8k):
  task = data.get_task('from_file', path=gsm8k)
  rng = np.random.default_rng(0)
  problems = task.problems(rng, 200, 'train')
  by_prompt = {row['question'] + '\n': row['answer'] for row in GSM8K}
  for p in problems:
    assert task.solve(p) == task.demonstrate(rng, p) == by_prompt[p.prompt]
    assert p.difficulty == 3
    assert p.answer == task.solve(p).split('#### ')[1].replace(',', '')
    assert task.right(p, task.solve(p)) and task.score(p, task.solve(p)) == 1.0
    assert not task.right(p, task.solve(p).replace('#### ', ''))  # no marker
  verifiers.canary(task)
  assert set(task.alphabet) == set(''.join(p + a for p, a in by_prompt.items()))


def test_answers_are_numbers_exactly_and_the_last_marker_counts(gsm8k):
  task = data.from_file(gsm8k)
  p = next(p for p in task.problems(np.random.default_rng(0), 300, 'train') if p.answer == '1000')
  for answer in ('1000', '1,000', '1000.0', '$1,000.00', ' 1000 '):
    assert task.right(p, f'so ####{answer}')
    assert task.right(p, f'#### 7\nno, #### {answer}\nand more text')
  for answer in ('1000.1', '1,00', '', '100', 'one thousand'):
    assert not task.right(p, f'so #### {answer}')
  judged = verifiers.verify(task, [p, p], ['#### 1,000', '#### 1,000'], [False, True])
  assert judged['correct'].tolist() == judged['score'].tolist() == [1.0, 0.0]


def test_the_split_is_disjoint_and_duplicates_are_on_one_side(tmp_path):
  rows = [{'question': f'What is {i} + 1?', 'answer': str(i + 1)} for i in range(400)]
  again = [{**row, 'question': row['question'].upper().replace('?', '  ?')} for row in rows]
  task = data.from_file(write(tmp_path / 'twice.jsonl', rows + again))
  train = task.problems(np.random.default_rng(0), 20_000, 'train')
  held = task.problems(np.random.default_rng(0), 30, 'heldout')
  assert len({p.prompt for p in held}) == 30
  assert not {p.key for p in train} & {p.key for p in held}
  assert len({p.prompt for p in train}) > 700  # both spellings are there
  assert held == data.heldout(task, 30) or len(data.heldout(task, 30)) == 30
  assert question_key('What is  3 + 1 ?') == question_key('what IS 3 1')
  assert question_key('+') == '+'


def test_fields_markers_and_prompts_are_the_callers(tmp_path):
  rows = [{'q': f'{i}?', 'a': i, 'why': 'because\nso'} for i in range(40)]
  path = write(tmp_path / 'own.jsonl', rows)
  task = data.from_file(
    path, question='q', answer='a', solution='why', marker='=>', prompt='Say @ now: '
  )
  p = task.problems(np.random.default_rng(0), 1, 'train')[0]
  number = p.answer
  assert p.prompt == f'Say {number}? now: '
  assert task.solve(p) == f'because\nso\n=> {number}'
  bare = data.from_file(path, question='q', answer='a')
  p = bare.problems(np.random.default_rng(0), 1, 'train')[0]
  assert bare.solve(p) == f'#### {p.answer}' and p.difficulty == 1
  with pytest.raises(ValueError, match='prompt must hold one @'):
    data.from_file(path, question='q', answer='a', prompt='no place')
  with pytest.raises(ValueError, match='marker must not be blank'):
    data.from_file(path, question='q', answer='a', marker=' ')


def test_long_problems_are_left_out_and_bounds_hold(gsm8k):
  whole = data.from_file(gsm8k)
  prompt, solution = whole.max_prompt - 1, whole.max_completion - 1
  short = data.from_file(gsm8k, max_prompt=prompt, max_solution=solution)
  assert short.max_prompt <= prompt and short.max_completion <= solution
  drawn = short.problems(np.random.default_rng(0), 300, 'train')
  assert 10 < len({p.prompt for p in drawn}) < len({row['question'] for row in GSM8K})
  for p in drawn:
    assert len(p.prompt) <= prompt and len(short.solve(p)) <= solution
  with pytest.raises(ValueError, match='has no problems of at most 3 and 0 characters'):
    data.from_file(gsm8k, max_prompt=3)


@pytest.mark.parametrize(
  ('line', 'match'),
  [
    (
      '{"question": "why?"}',
      r"bad.jsonl, line 3: field 'answer' is missing; it has \['question'\]",
    ),
    ('{"question": " ", "answer": 3}', r"line 3: field 'question' is empty"),
    ('{"question": "why?", "answer": null}', r"line 3: field 'answer' is empty"),
    ('{"question": "why?"', r'bad.jsonl, line 3 is not JSON'),
    ('[1, 2]', r'line 3 is list, needed is an object'),
    ('{"question": "why?", "answer": "so ####"}', r"line 3: field 'answer' must end with one line"),
    ('{"question": "why?", "answer": "so #### 1\\n2"}', r"line 3: field 'answer' must end"),
  ],
)
def test_a_bad_row_is_named(tmp_path, line, match):
  path = tmp_path / 'bad.jsonl'
  path.write_text(json.dumps(GSM8K[0]) + '\n\n' + line + '\n')
  with pytest.raises(ValueError, match=match):
    data.from_file(str(path))


def test_missing_and_empty_sources_are_errors(tmp_path):
  for path, match in (
    (str(tmp_path / 'none.jsonl'), 'There is no file'),
    (str(tmp_path / 'none.parquet'), 'There is no file'),
    ('', 'path is empty'),
    (write(tmp_path / 'empty.jsonl', []), 'has no problems'),
  ):
    with pytest.raises(ValueError, match=match):
      data.from_file(path)


def test_too_few_heldout_problems_are_an_error(gsm8k):
  task = data.from_file(gsm8k)
  with pytest.raises(ValueError, match=r'100 distinct heldout problems .* there are \d+'):
    task.problems(np.random.default_rng(0), 100, 'heldout')
  with pytest.raises(ValueError, match='Unknown split'):
    task.problems(np.random.default_rng(0), 1, 'test')
  with pytest.raises(ValueError, match='negative'):
    task.problems(np.random.default_rng(0), -1, 'train')


def test_draws_depend_on_the_generator_only(gsm8k):
  task = data.from_file(gsm8k)
  for split, n in (('train', 50), ('heldout', 3)):
    one = task.problems(np.random.default_rng(5), n, split)
    assert one == data.from_file(gsm8k).problems(np.random.default_rng(5), n, split)
    assert one != task.problems(np.random.default_rng(6), n, split)
  assert task.problems(np.random.default_rng(0), 0, 'train') == []


def test_parquet_and_data_sets_hold_the_same_problems(gsm8k, tmp_path, monkeypatch):
  monkeypatch.setenv('HF_HUB_OFFLINE', '1')
  datasets = pytest.importorskip('datasets')
  datasets.disable_progress_bars()
  monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
  rows = datasets.Dataset.from_list(GSM8K)
  rows.to_parquet(str(tmp_path / 'gsm8k.parquet'))
  rows.save_to_disk(str(tmp_path / 'one'))
  datasets.DatasetDict(train=rows, test=rows.select(range(20))).save_to_disk(str(tmp_path / 'two'))
  expected = data.from_file(gsm8k)
  for name in ('gsm8k.parquet', 'one', 'two'):
    task = data.from_file(str(tmp_path / name))
    rng = [np.random.default_rng(1) for _ in range(2)]
    assert task.problems(rng[0], 40, 'train') == expected.problems(rng[1], 40, 'train')
  with pytest.raises(ValueError, match=r"could not be loaded as part 'dev'"):
    data.from_file(str(tmp_path / 'two'), part='dev')
  with pytest.raises(ValueError, match=r"gsm8k.parquet, row 0: field 'q' is missing"):
    data.from_file(str(tmp_path / 'gsm8k.parquet'), question='q')
  with pytest.raises(ValueError, match='There is no file or folder'):
    data.from_file(str(tmp_path / 'nowhere'))


def test_without_datasets_the_extra_is_named(tmp_path, monkeypatch):
  (tmp_path / 'x.parquet').write_bytes(b'')
  monkeypatch.setitem(sys.modules, 'datasets', None)
  with pytest.raises(ImportError, match=r"pip install 'rljax\[hf\]'"):
    data.from_file(str(tmp_path / 'x.parquet'))
