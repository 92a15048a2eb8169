"""A month that is used up: neither chats nor batches are begun."""

from __future__ import annotations

import openai
import pytest

from tests.fakes.batch_service import created, ended, lines, running, settings


def test_a_batch_over_the_quota_is_refused_as_a_chat_is(tmp_path):
    limits = {"default": {"monthly_tokens": 20}}
    with running(settings(tmp_path, limits=limits)) as service:
        client = service.client(max_retries=0)
        batch = created(client, lines(8, failing=(3,)))
        assert ended(client, batch.id).status == "completed"  # uses more than there is
        service.service.tenants.ledger._month.clear()  # read again at once, not after half a minute
        for again in (
            lambda: created(client, lines(2)),
            lambda: client.post(f"/batches/{batch.id}/retry", cast_to=object),
            lambda: client.chat.completions.create(
                model="echo", messages=[{"role": "user", "content": "hi"}]
            ),
        ):
            with pytest.raises(openai.RateLimitError) as caught:
                again()
            assert caught.value.code == "insufficient_quota"
        assert client.batches.retrieve(batch.id).status == "completed"  # what there is can be looked at
