"""What a process keeps between the trials of an experiment, since the next one needs it again: the
few things that were made last, and none of them for longer than trials wait for them."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from curator.lib.work import Work
from scoring.models import Trial

Of = TypeVar("Of")
Name = tuple[Any, ...]  # begins with the experiment's id


class Kept(Generic[Of]):
    """At most so many things of a kind, by name; the one that was longest unused goes first."""

    everywhere: "list[Kept[Any]]" = []

    def __init__(self, most: int) -> None:
        self.most = most
        self.found: OrderedDict[Name, Of] = OrderedDict()
        self.everywhere.append(self)

    def get(self, name: Name, make: Callable[[], Of]) -> Of:
        """What is kept by that name, else what `make` makes."""
        if name not in self.found:
            while len(self.found) >= self.most:  # before another takes its memory
                self.found.popitem(last=False)
            self.found[name] = make()
        self.found.move_to_end(name)
        return self.found[name]


def forget() -> None:
    """Free all memory, for work that needs it."""
    for kept in Kept.everywhere:
        kept.found.clear()


def forget_ended() -> None:
    """Free what belongs to experiments of which no trial waits any more."""
    ids = {name[0] for kept in Kept.everywhere for name in kept.found}
    if not ids:
        return
    waiting = Trial.objects.filter(arm__experiment__in=ids, status=Work.Status.QUEUED)
    ended = ids - set(waiting.order_by().values_list("arm__experiment", flat=True))
    for kept in Kept.everywhere:
        for name in [name for name in kept.found if name[0] in ended]:
            del kept.found[name]
