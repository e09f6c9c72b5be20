from __future__ import annotations

import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from k2cli.binance.message_ids import MessageIds


def test_message_ids_are_uuids_of_version_four_and_unique() -> None:
    ids = MessageIds()
    texts = [*ids.take(1000), *ids.take(1), *ids.take(2000)]
    assert len(texts) == 3001
    for text in texts:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)
        assert str(parsed) == text
    assert len(set(texts)) == len(texts)


@given(st.integers())
def test_a_message_id_is_the_uuid_of_its_random_bytes(seed: int) -> None:
    drawn = random.Random(seed).randbytes(16 * 1024)  # noqa: S311 - not for secrets
    expected = {
        str(uuid.UUID(bytes=drawn[i : i + 16], version=4))
        for i in range(0, len(drawn), 16)
    }
    assert set(MessageIds(lambda count: drawn[:count]).take(1024)) == expected


def test_none_are_given_if_none_are_asked_for() -> None:
    assert MessageIds().take(0) == []
