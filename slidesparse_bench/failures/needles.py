"""Finding out fast which signatures can match a line."""

from __future__ import annotations

import re
from functools import lru_cache

from slidesparse_bench.failures.log import any_of
from slidesparse_bench.failures.signature import Tier
from slidesparse_bench.failures.signatures import SIGNATURES
from slidesparse_bench.failures.trace import Place


class Needles:
    """The literals of some signatures, each with the place of its signature in the table."""

    def __init__(self, limit: Tier, *, of_warnings: bool = False) -> None:
        of_places = [
            (needle, place)
            for place, signature in enumerate(SIGNATURES)
            if signature.tier <= limit and (signature.counts_as_warning or not of_warnings)
            for needle in signature.needles
        ]
        literals = sorted({needle for needle, _ in of_places if needle}, key=len)
        self._everywhere = [place for needle, place in of_places if not needle]
        self._of_beginning: dict[str, set[int]] = {}
        self._longer: dict[str, list[tuple[str, int]]] = {}
        for needle, place in of_places:
            if needle:
                beginning = next(each for each in literals if needle.startswith(each))
                same = self._of_beginning.setdefault(beginning, set())
                longer = self._longer.setdefault(beginning, [])
                if needle == beginning:
                    same.add(place)
                else:
                    longer.append((needle, place))
        beginnings = any_of([each.encode() for each in self._of_beginning]).decode()
        self._any = re.compile(beginnings)

    def places(self, text: str, place: Place) -> list[int]:
        """Which signatures can match, in their order. The empty needle is for ends of tracebacks."""
        hit = self._any.search(text) if self._of_beginning else None
        if hit is None and not place.ends_traceback:
            return []
        found = set(self._everywhere) if place.ends_traceback else set()
        beginnings: set[str] = set()
        while hit:
            beginnings.add(hit[0])
            hit = self._any.search(text, hit.start() + 1)  # overlapping ones count
        for beginning in beginnings:
            found |= self._of_beginning[beginning]
            for needle, longer in self._longer[beginning]:
                if needle in text:
                    found.add(longer)
        return sorted(found & _admitted(place.file, place.ends_traceback, place.deliberate))


@lru_cache(maxsize=4096)
def _admitted(file: str, ends_traceback: bool, deliberate: bool) -> frozenset[int]:
    """The places of the signatures that may match a line that stands there."""
    place = Place(frozenset(), file, ends_traceback, deliberate)
    return frozenset(index for index, signature in enumerate(SIGNATURES) if signature.admits(place))
