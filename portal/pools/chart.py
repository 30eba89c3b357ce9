"""The chart of a pool's stock. Shapes use percentages of the width, so that text keeps its size at any width."""

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.formats import date_format
from django.utils.translation import gettext

from pools.ledger import StockDay
from pools.replenishment import Forecast

# Pixels from the top of the chart: the stock, and below it the bars with issued keys per day.
STOCK_TOP, STOCK_HEIGHT = 24, 176
ISSUED_TOP, ISSUED_HEIGHT = 232, 48
CONE_STEPS = 12


@dataclass(frozen=True)
class Label:
    text: str
    x: float  # in percent
    y: float  # in pixels
    anchor: str = "start"


class StockChart:
    """Shapes have coordinates from 0 to 100, which the template scales to the available width."""

    def __init__(self, days: list[StockDay], forecast: Forecast, threshold: int) -> None:
        self.days = days
        self.forecast = forecast
        self.threshold = threshold
        self.has_forecast = bool(forecast.available and forecast.is_reliable)
        self.ahead = len(days) // 2 if self.has_forecast else 0  # days
        self.top = round_up(max(threshold, self.before, *(day.stock for day in days)))
        self.most_issued = max(day.issued for day in days)

    @property
    def before(self) -> int:
        first = self.days[0]
        return first.stock - first.added + first.issued + first.taken_out

    def _x(self, day: float) -> float:
        """The position in percent of a time, in days since the start of the first day."""
        return round(100 * day / (len(self.days) + self.ahead), 2)

    def _y(self, keys: float) -> float:
        return round(100 - 100 * keys / self.top, 2)

    def _points(self, points: list[tuple[float, float]]) -> str:
        return " ".join(f"{self._x(day)},{self._y(keys)}" for day, keys in points)

    @property
    def today(self) -> float:
        return self._x(len(self.days))

    @property
    def threshold_y(self) -> float:
        return self._y(self.threshold)

    @property
    def _stock(self) -> list[tuple[float, float]]:
        return [(0, self.before), *((number, day.stock) for number, day in enumerate(self.days, start=1))]

    @property
    def stock_line(self) -> str:
        return self._points(self._stock)

    @property
    def stock_area(self) -> str:
        return self._points([(0, 0), *self._stock, (len(self.days), 0)])

    @property
    def cone(self) -> str:
        if not self.has_forecast:
            return ""
        steps = [self.ahead * step / CONE_STEPS for step in range(CONE_STEPS + 1)]
        ranges = [(len(self.days) + step, *self.forecast.left_after(step)) for step in steps]
        least = [(day, least) for day, least, _ in ranges]
        most = [(day, most) for day, _, most in reversed(ranges)]
        return self._points([*least, *most])

    @property
    def bars(self) -> list[tuple[float, float, float, float]]:
        width = self._x(0.7)
        heights = [
            (number, round(100 * day.issued / self.most_issued, 2))
            for number, day in enumerate(self.days)
            if day.issued
        ]
        return [(self._x(number + 0.15), round(100 - height, 2), width, height) for number, height in heights]

    @property
    def grid(self) -> list[Label]:
        return [Label(intcomma(keys), 0, STOCK_TOP + STOCK_HEIGHT * self._y(keys) / 100 - 4) for keys in self._ticks()]

    @property
    def grid_lines(self) -> list[float]:
        return [self._y(keys) for keys in self._ticks()]

    def _ticks(self) -> list[int]:
        return [self.top // 2, self.top] if self.top > 1 else [self.top]

    @property
    def labels(self) -> list[Label]:
        bottom = ISSUED_TOP + ISSUED_HEIGHT + 18
        labels = [
            Label(
                gettext("issued per day, up to {most_issued}").format(most_issued=intcomma(self.most_issued)),
                0,
                ISSUED_TOP - 8,
            ),
            Label(date_format(self.days[0].date, "MONTH_DAY_FORMAT"), 0, bottom),
        ]
        if self.threshold:
            y = STOCK_TOP + STOCK_HEIGHT * self.threshold_y / 100 - 4
            labels.append(
                Label(gettext("threshold {threshold}").format(threshold=intcomma(self.threshold)), 100, y, "end")
            )
        if self.has_forecast:
            end = self.days[-1].date + timedelta(days=self.ahead)
            labels += [
                Label(gettext("forecast"), self.today, STOCK_TOP - 10),
                Label(gettext("today"), self.today, bottom, "middle"),
                Label(date_format(end, "MONTH_DAY_FORMAT"), 100, bottom, "end"),
            ]
        else:
            labels.append(Label(gettext("today"), 100, bottom, "end"))
        return labels

    @property
    def summary(self) -> str:
        days = self.days
        added, issued = sum(day.added for day in days), sum(day.issued for day in days)
        taken_out = sum(day.taken_out for day in days)
        rest = (
            gettext(", {taken_out} withdrawn or reserved").format(taken_out=intcomma(taken_out)) if taken_out else ""
        )
        return gettext(
            "In the last {days} days the stock went from {before} to {stock}:"
            " {added} keys added, {issued} issued{rest}."
        ).format(
            days=len(days),
            before=intcomma(self.before),
            stock=intcomma(days[-1].stock),
            added=intcomma(added),
            issued=intcomma(issued),
            rest=rest,
        )


def round_up(number: int) -> int:
    """Round up to 1, 2, 4, 6, 8, 10, 20, 40, ...: numbers whose half is also round."""
    unit = 1
    while True:
        for step in (1, 2, 4, 6, 8):
            if step * unit >= number:
                return step * unit
        unit *= 10
