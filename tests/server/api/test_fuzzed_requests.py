"""Requests made up from the OpenAPI document: answers are as described, and never a 500."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from berth_server.api.identity import PEER

# Streams do not end; the worker's reports are held to their own tests.
_CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
_LEFT_OUT = r"(/stream$|^/internal|^/login$)"


@pytest.fixture
def fuzzed(rest, tmp_path: Path) -> Any:
    """The described interface, asked as the server's own user."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope[PEER] = os.getuid()
        await rest.app(scope, receive, send)

    rest.desk.submit(gpus=1)
    rest.desk.submit(hold=True)
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app).exclude(path_regex=_LEFT_OUT)


def test_no_request_makes_berth_stumble(fuzzed):
    """Status, media type and body are what the document says; refusals are problem+json."""
    asked = 0
    for found in fuzzed.get_all_operations():
        operation = found.ok()
        asked += 1

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            try:
                response = case.call()
            except ValueError:
                reject()  # the client's own library cannot write such a path
            case.validate_response(response, checks=_CHECKS)
            if response.status_code >= 400 and case.operation.path != "/readyz":
                assert response.headers["content-type"][0] == "application/problem+json"
                assert b"Traceback" not in response.content

        ask()
    assert asked >= 25


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/jobs/dry-run"])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_body_makes_a_submit_stumble(fuzzed, path, data):
    """Specs that fit, and specs with something wrong in them."""
    operation = fuzzed[path]["POST"]
    mode = data.draw(st.sampled_from(list(GenerationMode)))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    response = case.call()
    case.validate_response(response, checks=_CHECKS)
    assert response.status_code in {200, 201, 400, 409, 413, 422}
