"""Admin lists of tables that can have millions of rows."""

from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

from portal.staff.lists import StaffList


class FirstRows(Paginator):
    """Pages of the first rows only, because counting millions of rows takes seconds. Searches once for all pages."""

    MAX_ROWS = 1000
    object_list: QuerySet

    @cached_property
    def keys(self) -> list[int]:
        return list(self.object_list.select_related(None).values_list("pk", flat=True)[: self.MAX_ROWS])

    @cached_property
    def count(self) -> int:
        return len(self.keys)

    def page(self, number: int | str) -> Page:
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        return Page(self.object_list.filter(pk__in=self.keys[first : first + self.per_page]), number, self)

    @property
    def is_cut(self) -> bool:
        return self.count == self.MAX_ROWS


class LargeTableList(StaffList):
    def get_results(self, request):
        super().get_results(request)
        if not self.multi_page:  # Django would search a second time
            self.result_list = self.paginator.page(1).object_list


class LargeTable:
    """Lists a table that can have millions of rows: the first rows, in an order that an index has."""

    paginator: Any = FirstRows
    show_full_result_count = False
    list_per_page = 25
    sortable_by: Any = ()

    def get_changelist(self, request, **kwargs):
        return LargeTableList

    def response_action(self, request: Any, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        """Limit an action on all rows of a list to the rows that the list counts."""
        if request.POST.get("select_across", "0") != "0":
            listed = self.get_paginator(request, queryset, self.list_per_page)  # type: ignore[attr-defined]
            queryset = queryset.filter(pk__in=listed.keys)
        return super().response_action(request, queryset, *args, **kwargs)  # type: ignore[misc]
