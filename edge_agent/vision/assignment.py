"""Who is who: the pairing of rows and columns of a matrix with the least total cost.

The method of shortest augmenting paths (Jonker and Volgenant 1987, "A shortest augmenting path algorithm for dense and
sparse linear assignment problems", Computing 38), in the form of Crouse (2016), "On implementing 2D rectangular
assignment algorithms", IEEE Trans. Aerosp. Electron. Syst. 52: exact, O(n^2 m) for n <= m.
"""

from __future__ import annotations

import numpy as np

from edge_agent.contract.records import Doubles


def cheapest_pairs(cost: Doubles) -> list[tuple[int, int]]:
    """Return pairs (row, column), by row, that cost least in all; as many as the shorter side has places.

    Args:
        cost: float64 [n, m], finite; either side may be 0.

    Raises:
        ValueError: it is no matrix, or a cost is not finite.
    """
    if cost.ndim != 2 or not np.isfinite(cost).all():  # noqa: PLR2004 - rows and columns
        raise ValueError(f"expected a matrix of finite costs, got {list(cost.shape)}: leave out what cannot be paired")
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in cheapest_pairs(cost.T))
    search = _Search(cost)
    for row in range(len(cost)):
        search.add(row)
    return list(enumerate(search.column_of.tolist()))


class _Search:
    """Rows paired so far, and the prices that prove that no other pairing of them is cheaper."""

    def __init__(self, cost: Doubles) -> None:
        rows, columns = cost.shape
        self.cost = cost
        self.row_price, self.column_price = np.zeros(rows), np.zeros(columns)
        self.row_of, self.column_of = np.full(columns, -1), np.full(rows, -1)

    def add(self, row: int) -> None:
        """Pair one more row: find the cheapest way to a free column, and move the pairs along it."""
        columns = len(self.column_price)
        shortest, via = np.full(columns, np.inf), np.full(columns, -1)
        reached = np.zeros(columns, np.bool_)
        current, length = row, 0.0
        while True:
            through = length + self.cost[current] - self.row_price[current] - self.column_price
            closer = ~reached & (through < shortest)
            shortest[closer], via[closer] = through[closer], current
            column = int(np.argmin(np.where(reached, np.inf, shortest)))
            length = float(shortest[column])
            if self.row_of[column] < 0:
                break
            reached[column] = True
            current = int(self.row_of[column])
        self.row_price[row] += length
        self.row_price[self.row_of[reached]] += length - shortest[reached]
        self.column_price[reached] -= length - shortest[reached]
        while column >= 0:
            current = int(via[column])
            self.row_of[column] = current
            self.column_of[current], column = column, int(self.column_of[current])
