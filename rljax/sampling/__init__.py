"""Drawing completions from a model."""

from rljax.sampling.sampler import Samples as Samples
from rljax.sampling.sampler import sample as sample
from rljax.sampling.warps import chain as chain
from rljax.sampling.warps import greedy as greedy
from rljax.sampling.warps import min_p as min_p
from rljax.sampling.warps import temperature as temperature
from rljax.sampling.warps import top_k as top_k
from rljax.sampling.warps import top_p as top_p
