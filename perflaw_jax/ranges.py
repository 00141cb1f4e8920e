"""A set of whole numbers as disjoint ranges: which tiles are done, which are missing."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """Whole numbers >= 0, kept as sorted disjoint ranges [start, stop) that do not touch.

    >>> done = Ranges([(0, 3), (5, 6)])
    >>> done.add(3, 5)
    >>> list(done), [*done.missing(range(2, 9))]
    ([(0, 6)], [range(6, 9)])
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()):
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self)

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._starts, number) - 1
        return place >= 0 and number < self._stops[place]

    def add(self, start: int, stop: int) -> None:
        """Take in the numbers of [start, stop)."""
        if start < stop:
            first, last = bisect_left(self._stops, start), bisect_right(self._starts, stop)
            if first < last:
                start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
            self._starts[first:last], self._stops[first:last] = [start], [stop]

    def overlap(self, start: int, stop: int) -> bool:
        """Whether any number of [start, stop) is in."""
        return next(self.missing(range(start, stop)), None) != range(start, stop) if start < stop else False

    def missing(self, whole: range) -> Iterator[range]:
        """The numbers of a range (of step 1) that are not in, as ranges, ascending."""
        place = bisect_right(self._stops, whole.start)
        start = whole.start
        while start < whole.stop:
            inside = place < len(self._starts)
            stop = min(self._starts[place], whole.stop) if inside else whole.stop
            if start < stop:
                yield range(start, stop)
            start = self._stops[place] if inside else whole.stop
            place += 1
