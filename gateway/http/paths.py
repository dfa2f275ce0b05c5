"""Finds the endpoint of a method and path, in a table of its own (see `gateway.app` for why)."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.http.describe import Endpoint
from gateway.http.problems import Problem, not_found

Methods = dict[str, Endpoint]


class Paths:
    """Static paths in one dictionary; those with parameters by their number of segments."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._static: dict[str, Methods] = {}
        self._templates: dict[int, list[tuple[list[str | None], list[str], Methods]]] = {}
        by_path: dict[str, Methods] = {}
        for endpoint in endpoints:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
        for path, methods in by_path.items():
            if "{" not in path:
                self._static[path] = methods
                continue
            segments = path.split("/")
            fixed = [None if part.startswith("{") else part for part in segments]
            names = [part[1:-1] for part in segments if part.startswith("{")]
            self._templates.setdefault(len(segments), []).append((fixed, names, methods))

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
        for fixed, names, methods in self._templates.get(len(segments), ()):
            values = []
            for want, got in zip(fixed, segments, strict=True):
                if want is None and got:
                    values.append(got)
                elif want != got:
                    break
            else:
                return methods, dict(zip(names, values, strict=True))
        raise not_found()
