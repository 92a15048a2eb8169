"""B5: one POST makes one object, however often it is sent, with a key or without."""

from __future__ import annotations

import openai
import pytest

from tests.fakes.batch_service import CHAT, lines, running, settings, uploaded
from tests.fakes.swallowing_proxy import swallowing


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(settings(tmp_path_factory.mktemp("store")), work=False) as found:
        yield found


def test_lost_answers_make_no_second_file_and_no_second_batch(server):
    direct = server.client()
    before = {each.id for each in direct.files.list()}, {each.id for each in direct.batches.list()}
    with swallowing(server.url, 2) as proxy:
        # They retry twice, and send no key. A connection of its own for each.
        first, second = (openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="none") for _ in range(2))
        file = uploaded(first, lines(3))
        batch = second.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    assert proxy.swallowed == ["/v1/files"] * 2 + ["/v1/batches"] * 2
    assert {each.id for each in direct.batches.list()} - before[1] == {batch.id}
    assert {each.id for each in direct.files.list()} - before[0] == {batch.input_file_id}


def test_the_same_request_on_purpose_makes_another_object(server):
    client = server.client()
    assert uploaded(client, lines(2)) != uploaded(client, lines(2))


def test_a_key_stands_for_one_request(server):
    client = server.client()
    asked = {"input_file_id": uploaded(client, lines(1)), "endpoint": CHAT, "completion_window": "24h"}
    headers = {"Idempotency-Key": "monday"}
    first = client.batches.create(**asked, extra_headers=headers)
    assert client.batches.create(**asked, extra_headers=headers).id == first.id
    with pytest.raises(openai.ConflictError) as refused:
        client.batches.create(**asked, metadata={"other": "body"}, extra_headers=headers)
    assert refused.value.code == "idempotency_conflict"
    assert refused.value.response.headers["x-should-retry"] == "false"
