"""Control messages on a stream connection, and what the exchange replies."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from k2cli.simulator import Rules, SimulatedExchange

FREE = Rules(client_frames_per_second=None)

CONTROL = [
    ('{"method":"SUBSCRIBE","params":["a@trade"],"id":1}', '{"result":null,"id":1}'),
    (
        '{"method":"SUBSCRIBE","params":["BTCUSDT@trade"],"id":1}',
        '{"result":null,"id":1}',
    ),
    (
        '{"method":"SUBSCRIBE","params":["x@nope"],"id":"a1"}',
        '{"result":null,"id":"a1"}',
    ),
    ('{"method":"SUBSCRIBE","params":[],"id":null}', '{"result":null,"id":null}'),
    ('{"method":"UNSUBSCRIBE","params":["b@trade"],"id":2}', '{"result":null,"id":2}'),
    ('{"method":"LIST_SUBSCRIPTIONS","id":3}', '{"result":["btcusdt@trade"],"id":3}'),
    (
        '{"method":"SET_PROPERTY","params":["combined",true],"id":4}',
        '{"result":null,"id":4}',
    ),
    (
        '{"method":"GET_PROPERTY","params":["combined"],"id":5}',
        '{"result":true,"id":5}',
    ),
    ('{"id":-9223372036854775808,"method":"LIST_SUBSCRIPTIONS","params":[]}', None),
]
ERRORS = [
    ('{"method":"GET_PROPERTY","params":["speed"],"id":1}', 0, "Unknown property"),
    (
        '{"method":"SET_PROPERTY","params":["combined",1],"id":1}',
        1,
        "Invalid value type: expected Boolean",
    ),
    (
        '{"method":"SET_PROPERTY","params":[1],"id":1}',
        2,
        "Invalid request: property name must be a string",
    ),
    (
        '{"method":"LIST_SUBSCRIPTIONS"}',
        2,
        "Invalid request: request ID must be an unsigned integer",
    ),
    (
        '{"method":"LIST_SUBSCRIPTIONS","id":1.5}',
        2,
        "Invalid request: request ID must be an unsigned integer",
    ),
    (
        '{"method":"LIST_SUBSCRIPTIONS","id":"%s"}' % ("x" * 37),
        2,
        "Invalid request: request ID must be an unsigned integer",
    ),
    ('{"method":"LIST_SUBSCRIPTIONS","id":9223372036854775808}', 2, "Invalid request"),
    (
        '{"method":"PING","id":1}',
        2,
        (
            "Invalid request: unknown variant PING, expected one of `SUBSCRIBE`, "
            "`UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at "
            "line 1 column 28"
        ),
    ),
    (
        '{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}',
        2,
        "Invalid request: too many parameters",
    ),
    ('{"id":1}', 2, "Invalid request: missing field `method` at line 1 column 8"),
    (
        '{"method":"SUBSCRIBE","params":["btc usdt@trade"],"id":1}',
        2,
        "Invalid request: invalid stream",
    ),
    (
        '{"method":"SUBSCRIBE","params":["btcusdt"],"id":1}',
        2,
        "Invalid request: invalid stream",
    ),
    ("hello", 3, "Invalid JSON: expected value at line 1 column 1"),
    ("[1]", 2, "Invalid request: missing field `method`"),
]


@pytest.mark.parametrize(("request_text", "reply"), CONTROL)
async def test_control_messages(
    request_text: str, reply: str | None, listen: Any
) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange)
        await client.send(request_text)
        answer = await client.recv()
        assert reply is None or answer == reply


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("request_text", "code", "message"), ERRORS)
async def test_control_errors(
    request_text: str, code: int, message: str, flat: bool, listen: Any
) -> None:
    async with SimulatedExchange(rules=Rules(flat_errors=flat)) as exchange:
        client = await listen(exchange)
        await client.send(request_text)
        answer = orjson.loads(await client.recv())
        error = answer if flat else answer["error"]
        assert error["code"] == code
        assert error["msg"].startswith(message)
        assert answer.get("id", 1) == 1


async def test_subscribing_twice_delivers_once_and_unsubscribing_ends_it(
    listen: Any, make: Any, ids: Any
) -> None:
    async with SimulatedExchange(rules=FREE) as exchange:
        client = await listen(exchange, path="/ws")
        for method in ("SUBSCRIBE", "SUBSCRIBE"):
            await client.send(
                orjson.dumps({"method": method, "params": ["btcusdt@trade"], "id": 1}),
                text=True,
            )
            assert await client.recv() == '{"result":null,"id":1}'
        await exchange.publish(make(2))
        assert await ids(client, 2) == [1, 2]
        await client.send('{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":2}')
        assert await client.recv() == '{"result":null,"id":2}'
        await exchange.publish(make(1, 3))
        await client.send('{"method":"LIST_SUBSCRIPTIONS","id":3}')
        assert await client.recv() == '{"result":[],"id":3}'


async def test_upper_case_and_unknown_streams_are_silent(
    listen: Any, make: Any
) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange, path="/ws")
        params = ["BTCUSDT@trade", "btcusdt@TRADE", "nope@trade"]
        await client.send(
            orjson.dumps({"method": "SUBSCRIBE", "params": params, "id": 1}), text=True
        )
        assert await client.recv() == '{"result":null,"id":1}'
        await exchange.publish(make(3))
        await client.send('{"method":"GET_PROPERTY","params":["combined"],"id":2}')
        assert await client.recv() == '{"result":false,"id":2}'


async def test_a_property_changes_the_form_at_once(listen: Any, make: Any) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange)
        await client.send(
            '{"method":"SET_PROPERTY","params":["combined",false],"id":1}'
        )
        assert await client.recv() == '{"result":null,"id":1}'
        await exchange.publish(make())
        assert (await client.recv()).startswith('{"e":"trade"')


async def test_one_stream_too_many_changes_nothing(listen: Any) -> None:
    rules = Rules(streams_per_connection=3)
    async with SimulatedExchange(rules=rules) as exchange:
        client = await listen(exchange)
        await client.send(
            '{"method":"SUBSCRIBE","params":["a@trade","b@trade","c@trade"],"id":1}'
        )
        assert await client.recv() == (
            '{"error":{"code":4,"msg":"Too many subscriptions"},"id":1}'
        )
        await client.send('{"method":"LIST_SUBSCRIPTIONS","id":2}')
        assert await client.recv() == '{"result":["btcusdt@trade"],"id":2}'


async def test_a_long_control_message_is_swallowed(listen: Any) -> None:
    async with SimulatedExchange() as exchange:
        client = await listen(exchange)
        streams = [f"symbol{number:04}usdt@trade" for number in range(200)]
        await client.send(
            orjson.dumps({"method": "SUBSCRIBE", "params": streams, "id": 1}), text=True
        )
        await client.send('{"method":"LIST_SUBSCRIPTIONS","id":2}')
        assert await client.recv() == '{"result":["btcusdt@trade"],"id":2}'
