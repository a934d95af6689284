"""Priors on the gradient, for `gradopt.GradINN`."""

from gradopt.surrogates.gradinn.priors import Bounded as Bounded
from gradopt.surrogates.gradinn.priors import Constant as Constant
from gradopt.surrogates.gradinn.priors import Custom as Custom
from gradopt.surrogates.gradinn.priors import Independent as Independent
from gradopt.surrogates.gradinn.priors import Monotone as Monotone
from gradopt.surrogates.gradinn.priors import Oscillating as Oscillating
from gradopt.surrogates.gradinn.priors import Prior as Prior
from gradopt.surrogates.gradinn.priors import Smooth as Smooth
