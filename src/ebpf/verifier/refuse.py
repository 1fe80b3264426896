"""How the verifier says no: where, and which of the reasons in `abi.refusals`, with the facts that its words need."""

from __future__ import annotations


class Refuse(Exception):
    """The program is refused at the instruction being looked at (or at ``slot``).

    ``code`` names the reason (``abi.refusals.TITLES``), ``words`` say it in one line; ``facts`` fill the words of the
    row of
    `abi.refusals.REFUSALS` called ``row``; ``register`` is the register it is about, so that its origin can be shown.
    """

    def __init__(
        self,
        code: str,
        words: str,
        *,
        row: str = "",
        register: int = -1,
        slot: int = -1,
        helps: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
        **facts: object,
    ) -> None:
        super().__init__(words)
        self.code = code
        self.words = words
        self.row = row
        self.register = register
        self.slot = slot
        self.helps = helps
        self.notes = notes
        self.trail: list[tuple[int, int]] = []
        self.facts = {k: str(v) for k, v in facts.items()}
