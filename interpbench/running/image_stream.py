"""A plan's images, decoded a part at a time, the next while the device is busy with this one."""

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING

from interpbench.core.preparation import Framing
from interpbench.loading.images import ImageSet, read_images
from interpbench.registry.plugin import blaming
from interpbench.running.plan import Plan

if TYPE_CHECKING:
    from hashlib import _Hash

KEPT = 2  # parts: the one that is worked on, and the one after it


class ImageStream:
    """Parts of a plan's images at a model's input size.

    What was decoded last is kept, so that models that share a preparation share it. To be used as a
    context: at its end nobody decodes any more.

    Attributes:
        sha256: of the pixels of all images, of the framings of which somebody has found it out.
    """

    def __init__(self, plan: Plan) -> None:
        self.sha256: dict[Framing, str] = {}
        self._plan = plan
        self._parts: OrderedDict[tuple[Framing, int, int], Future[ImageSet]] = OrderedDict()
        self._decoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder")

    def __enter__(self) -> "ImageStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._decoder.shutdown(cancel_futures=True)

    def part(
        self, framing: Framing, first: int, last: int, pixels: "_Hash | None" = None
    ) -> ImageSet:
        """The images at some places of the plan; there may be none that can be read.

        Parameters:
            framing: of the model's input.
            first, last: places in the plan, `last` not among them.
            pixels: a sha256 that takes in the pixels, as `read_images` has it.

        Raises:
            DataError: if one is not what a sample should be.
        """
        key = (framing, first, last)
        with blaming(self._plan.dataset_choice):
            if pixels is not None or key not in self._parts:
                read: Future[ImageSet] = Future()
                read.set_result(self._read(framing, first, last, pixels))
                self._keep(key, read)
            self._parts.move_to_end(key)
            return self._parts[key].result()

    def begin(self, framing: Framing, first: int, last: int) -> None:
        """Starts to decode what will be asked for next, where the data set allows it."""
        key = (framing, first, last)
        if self._plan.dataset.card.concurrent and key not in self._parts:
            self._keep(key, self._decoder.submit(self._read, framing, first, last))

    def _keep(self, key: tuple[Framing, int, int], part: "Future[ImageSet]") -> None:
        self._parts[key] = part
        while len(self._parts) > KEPT:
            self._parts.popitem(last=False)

    def _read(
        self, framing: Framing, first: int, last: int, pixels: "_Hash | None" = None
    ) -> ImageSet:
        return read_images(self._plan.dataset, self._plan.indices[first:last], framing, pixels)
