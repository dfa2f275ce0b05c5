"""Finds the endpoint of a method and path, in a table of its own (see `gateway.app` for why)."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.http.describe import Endpoint
from gateway.http.problems import Problem, not_found

Methods = dict[str, Endpoint]
_NONE: dict[tuple[int, ...], dict[str, tuple[list[str], Methods]]] = {}


class Paths:
    """Static paths in one dictionary; those with parameters by their number of segments, by which of them are parameters, and by
    the others.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._static: dict[str, Methods] = {}
        self._templates: dict[int, dict[tuple[int, ...], dict[str, tuple[list[str], Methods]]]] = {}
        by_path: dict[str, Methods] = {}
        for endpoint in endpoints:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        for path, methods in by_path.items():
            if "{" not in path:
                self._static[path] = methods
                continue
            segments = path.split("/")
            places = tuple(place for place, part in enumerate(segments) if part.startswith("{"))
            names = [segments[place][1:-1] for place in places]
            same_places = self._templates.setdefault(len(segments), {}).setdefault(places, {})
            same_places[_without(segments, places)] = names, methods

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        """The endpoint, and the path's parameters.

        Raises:
            Problem: 404, or 405 with `Allow`.
        """
        methods, values = self._methods(path)
        endpoint = methods.get(method)
        if endpoint is None:
            allow = ", ".join(sorted(methods)).encode()
            detail = "This path does not know this method; see the Allow header."
            raise Problem(405, "method-not-allowed", detail, headers=((b"allow", allow),))
        return endpoint, values

    def methods(self, path: str) -> Iterable[str]:
        """The methods of a path. Raises Problem 404."""
        return self._methods(path)[0]

    def _methods(self, path: str) -> tuple[Methods, dict[str, str]]:
        found = self._static.get(path)
        return self._match(path) if found is None else (found, {})

    def _match(self, path: str) -> tuple[Methods, dict[str, str]]:
        segments = path.split("/")
        for places, templates in self._templates.get(len(segments), _NONE).items():
            found = templates.get(_without(segments, places))
            if found is not None:
                names, methods = found
                values = {name: segments[place] for name, place in zip(names, places, strict=True)}
                if all(values.values()):
                    return methods, values
        raise not_found()


def _without(segments: list[str], places: tuple[int, ...]) -> str:
    """The path with nothing in those places, where a path that matches has something."""
    left = segments.copy()
    for place in places:
        left[place] = ""
    return "/".join(left)
