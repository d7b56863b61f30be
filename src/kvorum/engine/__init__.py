"""How it is computed: the tokens of many questions of many members in one pass over one base model."""

from kvorum.engine.attention import attached, packed_attention
from kvorum.engine.base_model import BaseModel, fingerprint, load_base, skeleton
from kvorum.engine.checkpointed import checkpointed
from kvorum.engine.compiled import compiled
from kvorum.engine.given import given_base
from kvorum.engine.pack import Item, Pack, Scorable, build_pack, plan_packs
from kvorum.engine.planned import planned_base
from kvorum.engine.score import CandidateScores, score_pack
from kvorum.engine.selfcheck import verify_packed

__all__ = [
    "BaseModel",
    "CandidateScores",
    "Item",
    "Pack",
    "Scorable",
    "attached",
    "build_pack",
    "checkpointed",
    "compiled",
    "fingerprint",
    "given_base",
    "load_base",
    "packed_attention",
    "plan_packs",
    "planned_base",
    "score_pack",
    "skeleton",
    "verify_packed",
]
