"""The JSON interface, its description, and CSV."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from openapi_spec_validator import validate
from spalloc_web._http.endpoints import ENDPOINTS
from spalloc_web._past.history import History

from tests.conftest import site
from tests.support.facility import busy
from tests.support.past import FakeSource

EXAMPLES = {"name": "machine", "x": "0", "y": "0", "z": "0", "job_id": "1"}


def path_of(template: str) -> str:
    return "/api/v1" + re.sub(r"\{(\w+)\}", lambda match: EXAMPLES[match[1]], template)


def check(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> None:
    """See that a value has the shape that is described."""
    from openapi_schema_validator import OAS31Validator

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(components[node["$ref"].rpartition("/")[2]])
            return {name: resolve(each) for name, each in node.items()}
        return [resolve(each) for each in node] if isinstance(node, list) else node

    OAS31Validator(resolve(schema)).validate(value)


async def test_the_description_is_valid_and_every_answer_is_as_described() -> None:
    async with site(history=History(FakeSource())) as place:
        document = await (await place.client.get("/api/v1/openapi.json")).json()
        validate(document)
        assert document["servers"] == [{"url": "/api/v1"}]
        for endpoint in ENDPOINTS:
            operation = document["paths"][endpoint.path]["get"]
            response = await place.client.get(path_of(endpoint.path))
            assert response.status == 200, endpoint.path
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            check(await response.json(), schema, document["components"]["schemas"])


def test_a_value_of_another_shape_is_found() -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        check({"a": 1}, {"$ref": "#/components/schemas/A"}, {"A": {"type": "array"}})


async def test_every_parameter_is_described() -> None:
    async with site() as place:
        document = await (await place.client.get("/api/v1/openapi.json")).json()

        for endpoint in ENDPOINTS:
            described = document["paths"][endpoint.path]["get"]["parameters"]
            names = [parameter["name"] for parameter in described]
            assert names == list(endpoint.parameters.__struct_fields__)


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e.csv], ids=lambda e: e.path)
async def test_tables_are_csv_with_a_line_of_names(endpoint: Any) -> None:
    facility = busy(4, 2)
    facility.end(1, reason="+1 -> \"x\",\ny")
    async with site(facility, history=History(FakeSource())) as place:
        response = await place.client.get(path_of(endpoint.path) + ".csv")
        rows = list(csv.reader(io.StringIO(await response.text())))

        assert response.content_type == "text/csv"
        assert "attachment" in response.headers["Content-Disposition"]
        assert rows[0] == list(endpoint.csv.__struct_fields__)
        assert len(rows) > 1
        assert all(len(row) == len(rows[0]) for row in rows)
        for row in rows[1:]:
            assert not [cell for cell in row if re.match(r"[=+\-@]", cell)]


async def test_jobs_are_filtered() -> None:
    async with site() as place:
        async def ids(query: str) -> list[int]:
            answer = await (await place.client.get(f"/api/v1/jobs?{query}")).json()
            return [job["job_id"] for job in answer]

        every = list(place.facility.jobs)
        assert await ids("") == every
        queued = [j for j, job in place.facility.jobs.items() if job["state"] == 1]
        assert await ids("state=queued") == queued
        owner = place.facility.jobs[1]["owner"]
        assert 1 in await ids(f"owner={owner}")
        assert await ids("machine=other") == []


async def test_those_not_logged_in_cannot_ask_by_name() -> None:
    history = History(FakeSource())
    async with site(anonymous="states", history=history) as place:
        for path in (
            "/api/v1/jobs?owner=ada",
            "/api/v1/history/jobs?owner=ada",
            "/api/v1/history/jobs?reason=x",
            "/api/v1/usage?by=owner",
            "/api/v1/usage.csv?by=network",
            "/jobs?owner=ada",
        ):
            assert (await place.client.get(path)).status == 403
        for endpoint in ENDPOINTS:
            response = await place.client.get(path_of(endpoint.path))
            text = await response.text()
            assert response.status == 200
            assert "example.org" not in text
            assert "10.0.0.7" not in text
            assert "refused" not in text


async def test_ended_jobs_are_paged() -> None:
    facility = busy(4, 2)
    for job_id in list(facility.jobs):
        facility.end(job_id)
    async with site(facility) as place:
        seen: list[int] = []
        while True:
            query = f"?limit=2&before={seen[-1]}" if seen else "?limit=2"
            page = await (await place.client.get(f"/api/v1/ended{query}")).json()
            if not page:
                break
            seen += [job["job_id"] for job in page]

        assert seen == [job["job_id"] for job in facility.ended]
        assert place.server.asked.count("list_ended_jobs") == 1


async def test_refusals_are_json_with_words() -> None:
    async with site() as place:
        response = await place.client.get("/api/v1/jobs/999")
        assert (response.status, response.content_type) == (404, "application/json")
        assert await response.json() == {
            "status": 404,
            "error": "There is no job 999, or it is long gone.",
        }
        response = await place.client.get("/api/v1/usage")
        assert response.status == 503
        assert "No history" in (await response.json())["error"]
        for query in ("by=colour", "since=x", "x=1"):
            assert (await place.client.get(f"/api/v1/usage?{query}")).status == 400
