"""What is learned: the stacked LoRA adapters of all members, their start, and the way onto a model and off it."""

from kvorum.adapters.attach import Attachment, LoRALayer, Route
from kvorum.adapters.init import kaiming_uniform_stack
from kvorum.adapters.places import device_of, first_device
from kvorum.adapters.seeds import Stream, generator_seed
from kvorum.adapters.stack import AdapterStack
from kvorum.adapters.targets import find_targets

__all__ = [
    "AdapterStack",
    "Attachment",
    "LoRALayer",
    "Route",
    "Stream",
    "device_of",
    "find_targets",
    "first_device",
    "generator_seed",
    "kaiming_uniform_stack",
]
