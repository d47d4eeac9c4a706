"""Collectives found in compiled programs: kinds, how often, how large."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from experiments import hlo
from rljax.training import sharding

ROWS = PartitionSpec('data')


def compiled(body, repeats=1):
  """HLO of a program that runs `body` on the `[2, 4]` shards of a float32 `[8, 4]` array."""
  mesh = sharding.make_mesh(data=4)

  @functools.partial(jax.shard_map, mesh=mesh, in_specs=ROWS, out_specs=ROWS, check_vma=False)
  def program(x):
    return jax.lax.fori_loop(0, repeats, lambda _, y: body(y), x) if repeats > 1 else body(x)

  return jax.jit(program).lower(jnp.ones((8, 4))).compile().as_text()


def gather(x):
  return jax.lax.all_gather(x, 'data', tiled=True)[:2] + x


def scatter(x):
  whole = jnp.concatenate([x, x + 1, x + 2, x + 3])
  return jax.lax.psum_scatter(whole, 'data', scatter_dimension=0, tiled=True)


BODIES = {
  'all-gather': (gather, 8 * 4 * 4),
  'all-reduce': (lambda x: jax.lax.psum(x, 'data'), 2 * 4 * 4),
  'reduce-scatter': (scatter, 8 * 4 * 4),
  'all-to-all': (
    lambda x: jax.lax.all_to_all(x, 'data', split_axis=1, concat_axis=1, tiled=True),
    2 * 4 * 4,
  ),
  'collective-permute': (
    lambda x: jax.lax.ppermute(x, 'data', [(i, (i + 1) % 4) for i in range(4)]),
    2 * 4 * 4,
  ),
}


@pytest.mark.parametrize('kind', hlo.KINDS)
def test_each_kind_is_found_with_its_bytes(kind):
  body, size = BODIES[kind]
  assert hlo.collectives(compiled(body)) == {kind: hlo.Collective(1, size)}


@pytest.mark.parametrize('kind', ['all-reduce', 'collective-permute'])
def test_loops_count_as_often_as_they_run(kind):
  body, size = BODIES[kind]
  found = hlo.collectives(compiled(body, repeats=5))
  assert found == {kind: hlo.Collective(5, 5 * size)}


def test_a_program_of_one_device_sends_nothing():
  assert hlo.collectives(jax.jit(jnp.cos).lower(1.0).compile().as_text()) == {}


def test_what_only_the_tpu_compiler_writes_is_understood():
  text = """HloModule m

%condition.1 (p.1: (s32[], f32[4])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %bound = s32[]{:T(128)} constant(7)
  %i = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

%fused.1 (p.2: bf16[8]) -> bf16[32] {
  %p.2 = bf16[8]{0:T(128)(2,1)} parameter(0)
  ROOT %all-gather.1 = bf16[32]{0:T(128)(2,1)} all-gather(%p.2), channel_id=3, dimensions={0}
}

%fused.2 (p.3: bf16[8]) -> bf16[32] {
  %p.3 = bf16[8]{0:T(128)(2,1)} parameter(0)
  ROOT %all-gather.2 = bf16[32]{0:T(128)(2,1)} all-gather(%p.3), channel_id=3, dimensions={0}
}

%body.1 (p.4: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p.4 = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %x = f32[4]{0:T(128)} get-tuple-element(%p.4), index=1
  %start = (f32[4]{0:T(128)}, f32[4]{0:T(128)}, u32[]{:S(2)}, u32[]{:S(2)}) \
collective-permute-start(%x), channel_id=1, source_target_pairs={{0,1},{1,0}}
  %done = f32[4]{0:T(128)} collective-permute-done(%start)
  ROOT %t = (s32[]{:T(128)}, f32[4]{0:T(128)}) tuple(%i.2, %done)
}

ENTRY %main.1 (a: (s32[], f32[4]), b: bf16[8]) -> f32[4] {
  %a = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %b = bf16[8]{0:T(128)(2,1)} parameter(1)
  %f.1 = bf16[32]{0:T(128)(2,1)} fusion(%b), kind=kCustom, calls=%fused.1
  %f.2 = bf16[32]{0:T(128)(2,1)} fusion(%b), kind=kCustom, calls=%fused.2
  %loop = (s32[]{:T(128)}, f32[4]{0:T(128)}) while(%a), condition=%condition.1, body=%body.1
  %r = bf16[8]{0:T(128)(2,1)} fusion(%f.2), kind=kCustom, calls=%all-reduce-scatter.4
  ROOT %out = f32[4]{0:T(128)} get-tuple-element(%loop), index=1
}
"""
  assert hlo.collectives(text) == {
    'all-gather': hlo.Collective(1, 64),  # one, spread over two fusions
    'reduce-scatter': hlo.Collective(1, 64),
    'collective-permute': hlo.Collective(7, 7 * (16 + 8)),
  }


def test_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match='ENTRY'):
    hlo.collectives('module @jit_f {}')


def test_a_loop_in_stages_counts_each_token_once():
  mesh = sharding.make_mesh(data=4)

  def step(carry):
    t, x = carry
    return t + 1, x + jax.lax.psum(x, 'data')

  @functools.partial(jax.shard_map, mesh=mesh, in_specs=ROWS, out_specs=ROWS, check_vma=False)
  def program(x):
    carry = (jnp.int32(0), x)
    for end in (4, 8, 16):
      carry = jax.lax.while_loop(lambda c, end=end: (c[0] < end) & (c[1].max() < 9), step, carry)
    return carry[1]

  text = jax.jit(program).lower(jnp.ones((8, 4))).compile().as_text()
  assert hlo.collectives(text) == {'all-reduce': hlo.Collective(16, 16 * 2 * 4 * 4)}
