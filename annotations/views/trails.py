"""The steps a curator took through a queue of pairs, kept in their session so that undo can take
them back one by one."""

from annotations.models import Decision, PreferencePair
from curator.requests import SignedInRequest

LONGEST = 100


class Trail:
    """The steps of one queue: each is a pair and what was decided of it, or that it was skipped."""

    def __init__(self, request: SignedInRequest, name: str) -> None:
        self._session, self._name = request.session, name

    def __bool__(self) -> bool:
        return bool(self._session.get(self._name))

    def leave(self, pair: PreferencePair, decision: Decision | None) -> None:
        """Remember the step; without a decision it is a skip."""
        step = [pair.pk, decision.pk if decision else None]
        self._session[self._name] = [*self._session.get(self._name, []), step][-LONGEST:]

    def go_back(self) -> tuple[int, int | None] | None:
        """Forget the last step and return its pair and decision; None when there is none."""
        steps = list(self._session.get(self._name, []))
        if not steps:
            return None
        pair_id, decision_id = steps.pop()
        self._session[self._name] = steps
        return pair_id, decision_id

    def forget(self, decision: Decision) -> None:
        """Leave the decision out: it was taken back out of its turn."""
        steps = self._session.get(self._name, [])
        self._session[self._name] = [step for step in steps if step[1] != decision.pk]
