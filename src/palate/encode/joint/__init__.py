"""The joint encoder of pictures and words (AlignRec's MMEnc): its settings, pre-training, probes and encoding.

Importing this package loads no torch; `pretraining.pretrain_joint` and `encoder.encode_joint` are the ways in.
"""

from __future__ import annotations

from palate.encode.joint.settings import JointConfig

__all__ = ["JointConfig"]
