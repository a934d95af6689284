"""The adaptive loop for other programs: ask for points, tell their outcomes, save and load the state. Floor 6.

`gradopt.Optimizer` is the easier face: it takes plain evaluations of one truth. The names here are the pieces under it.
"""

from gradopt.corrected.correction import CorrectionTerms as CorrectionTerms
from gradopt.corrected.samples import Gain as Gain
from gradopt.loop.asking import ask as ask
from gradopt.loop.files import load_state as load_state
from gradopt.loop.files import save_state as save_state
from gradopt.loop.problem import Component as Component
from gradopt.loop.problem import LearnedTruth as LearnedTruth
from gradopt.loop.problem import Problem as Problem
from gradopt.loop.request import Outcome as Outcome
from gradopt.loop.request import Purpose as Purpose
from gradopt.loop.request import Request as Request
from gradopt.loop.running import Loop as Loop
from gradopt.loop.running import run as run
from gradopt.loop.settings import Settings as Settings
from gradopt.loop.state import Exit as Exit
from gradopt.loop.state import Iteration as Iteration
from gradopt.loop.state import State as State
from gradopt.loop.state import begin as begin
from gradopt.loop.telling import tell as tell
from gradopt.loop.trust_region import TrustRegion as TrustRegion
from gradopt.optimality.problem import Limits as Limits
from gradopt.optimality.problem import Responses as Responses
