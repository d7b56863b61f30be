"""How many bytes of tensors live at once, while some code runs."""

import weakref
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts what is made while it is entered, until nobody holds it any more: each storage once, however many views.

    Tensors need hold no values for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._counted: dict[int, weakref.finalize[Any, Any]] = {}

    def leave_out(self, tensor: Tensor) -> None:
        """Do not count what was there before."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        self._counted[key] = weakref.finalize(storage, self._counted.pop, key, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and count what it has made."""
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self._count(one.untyped_storage())
        return found

    def _count(self, storage: UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._counted:
            return
        self._counted[key] = weakref.finalize(storage, self._gone, key, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int) -> None:
        if self._counted.pop(key, None) is not None:
            self.now -= size
