"""The OpenAPI 3.1 document, made from the table of endpoints and the types that they answer."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from enrichment.console.desk import Cost
from enrichment.console.endpoints import Endpoint
from enrichment.console.problems import MEDIA_TYPE, ProblemBody
from enrichment.console.shapes import Health

REF: Final = "#/components/schemas/{name}"
BY_COST: Final = {
    Cost.FREE: (),
    Cost.READ: (400, 414, 429),
    Cost.LOOKUP: (400, 414, 429, 502, 503, 504),
    Cost.ACTION: (401, 403, 409, 429, 502, 503, 504),
    Cost.CALL: (401, 403, 409, 429, 503),
    Cost.RESULT: (400, 414, 429, 502, 503, 504),
    Cost.SIGN_IN: (429,),
}
OF_BODY: Final = (400, 408, 413, 415, 422)


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The whole document."""
    types: list[Any] = [ProblemBody]
    for one in endpoints:
        named = (one.body, one.answer, one.pending)
        types += [each for each in named if each and not isinstance(each, str)]
    types = list(dict.fromkeys(types))
    refs, schemas = msgspec.json.schema_components(types, ref_template=REF)
    of = dict(zip(types, refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "enrichment console",
            "version": version,
            "description": "Features, events, jobs, cases and rollout of one pipeline. Read-only "
            "without a token. Limits are answered by 429 with Retry-After; every problem is "
            f"{MEDIA_TYPE}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(one: Endpoint, of: dict[Any, Any]) -> dict[str, Any]:
    media = one.answer if isinstance(one.answer, str) else "application/json"
    schema = {} if isinstance(one.answer, str) else of[one.answer]
    if one.answer == "application/json":
        schema = {"type": "object"}
    answers: dict[str, Any] = {
        str(one.status): {"description": "As asked", "content": {media: {"schema": schema}}}
    }
    if one.pending is not None:
        answers["202"] = {
            "description": "Not yet",
            "content": {media: {"schema": of[one.pending]}},
        }
    if one.cost is Cost.ACTION:
        answers["202"] = {
            "description": "Given, and not yet heard of",
            "content": {media: {"schema": schema}},
        }
    if one.answer is Health:
        answers["503"] = {"description": "Not so", "content": {media: {"schema": schema}}}
    problems = {*one.problems, *BY_COST[one.cost], *(OF_BODY if one.body else ())}
    for status in sorted(problems):
        answers.setdefault(
            str(status),
            {
                "description": HTTPStatus(status).phrase,
                "content": {MEDIA_TYPE: {"schema": of[ProblemBody]}},
            },
        )
    if one.cost is Cost.ACTION:
        # A worker's refusal comes with what it said.
        answers["409"]["content"]["application/json"] = {"schema": {"type": "object"}}
    operation: dict[str, Any] = {
        "operationId": f"{one.method.lower()}_{one.handler.__name__}",
        "summary": one.summary,
        "responses": answers,
    }
    if one.parameters:
        operation["parameters"] = [
            {
                "name": each.name,
                "in": each.where,
                "required": each.where == "path",
                "description": each.what,
                "schema": each.schema,
            }
            for each in one.parameters
        ]
    if one.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": of[one.body]}},
        }
    if one.cost in {Cost.ACTION, Cost.CALL}:
        operation["security"] = [{"token": []}]
    return operation
