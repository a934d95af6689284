"""The adaptive loop for other programs: ask for points, tell their outcomes, save and load the state. Floor 6.

`gradopt.Optimizer` is the easier face: it takes plain evaluations of one truth. The names here are the pieces under it.
"""

from gradopt.corrected.correction import CorrectionTerms
from gradopt.corrected.samples import Gain
from gradopt.loop.asking import ask
from gradopt.loop.files import load_state, save_state
from gradopt.loop.problem import Component, LearnedTruth, Problem
from gradopt.loop.request import Outcome, Purpose, Request
from gradopt.loop.running import Loop, run
from gradopt.loop.settings import Settings
from gradopt.loop.state import Exit, Iteration, State, begin
from gradopt.loop.telling import tell
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.problem import Limits, Responses

__all__ = [
    "Component",
    "CorrectionTerms",
    "Exit",
    "Gain",
    "Iteration",
    "LearnedTruth",
    "Limits",
    "Loop",
    "Outcome",
    "Problem",
    "Purpose",
    "Request",
    "Responses",
    "Settings",
    "State",
    "TrustRegion",
    "ask",
    "begin",
    "load_state",
    "run",
    "save_state",
    "tell",
]
