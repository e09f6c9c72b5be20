"""Reaching a log: one that is not there, and one that wants a name and TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import K2, running, servers

pytestmark = [
    pytest.mark.timeout(120),
    # The client leaves a warning or two to the end of its loop.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize(
    ("client", "url"),
    [
        ("nats", "nats://me:hidden@127.0.0.1:1/t"),
        (
            "confluent_kafka",
            "kafka://127.0.0.1:1/t?sasl.password=hidden&socket.timeout.ms=1000",
        ),
    ],
)
def test_a_log_that_is_not_there_is_tried_within_the_bound(
    k2: K2, client: str, url: str
) -> None:
    pytest.importorskip(client)
    k2.append(1)
    status, _, err = k2.end(k2.publish(url, "--retry-for", "1s"))
    assert status == 3
    assert "://127.0.0.1:1/t cannot be reached" in err
    assert "hidden" not in err


class SecureLog:
    """A log that wants a user, a password, and TLS.

    Args:
        url: Where it is, without credentials.
        keys: What the client calls its settings: user, password, certificate.
        certificate: By which it is known.
        others: Further settings, by name.
    """

    def __init__(
        self, url: str, keys: list[str], certificate: Path, others: dict[str, str]
    ) -> None:
        self.url = url
        self.user, self.password = servers().USER, servers().PASSWORD
        self._keys = keys
        self._certificate = certificate
        self._others = others

    def settings(self, password: str | None = None) -> str:
        """The text of a file for --to-config."""
        values = [self.user, password or self.password, str(self._certificate)]
        found = self._others | dict(zip(self._keys, values, strict=True))
        return "".join(f"{key}={value}\n" for key, value in found.items())

    def url_with_settings(self) -> str:
        """The same behind a ?, user and password before the host."""
        scheme, _, rest = self.url.partition("://")
        found = self._others | {self._keys[2]: str(self._certificate)}
        query = "&".join(f"{key}={value}" for key, value in found.items())
        return f"{scheme}://{self.user}:{self.password}@{rest}?{query}"


@pytest.fixture(params=["kafka", "nats"])
def secure_log(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "kafka":
        broker = request.getfixturevalue("own_kafka")
        if broker.certificate is None:
            pytest.skip("TLS needs openssl")
        yield SecureLog(
            f"kafka://{broker.secure_address}/secure",
            ["sasl.username", "sasl.password", "ssl.ca.location"],
            broker.certificate,
            {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"},
        )
        return
    pytest.importorskip("nats", reason="needs k2cli[nats]")
    folder = tmp_path / "nats"
    folder.mkdir()
    for server in running("Nats", folder, is_secure=True):
        yield SecureLog(
            f"nats://{server.address}/SECURE",
            ["user", "password", "tls_ca"],
            server.certificate,
            {},
        )


@pytest.mark.slow
def test_credentials_and_tls_work_and_are_not_shown(
    k2: K2, secure_log: SecureLog
) -> None:
    k2.append(300)
    file = k2.folder / "client.properties"
    file.write_text(secure_log.settings(), encoding="utf-8")
    run = ("--to-config", str(file), "--log-level", "debug")
    status, _, err = k2.end(k2.publish(secure_log.url, "--create", *run))
    assert status == 0, err
    report = k2.proven(secure_log.url_with_settings())
    assert (report["verdict"], report["trades"]) == ("whole", 300)
    said = err + str(report)

    wrong = "wr0ng-one"
    file.write_text(secure_log.settings(wrong), encoding="utf-8")
    status, _, err = k2.end(
        k2.publish(secure_log.url, *run, "--retry-for", "5s", "--debug")
    )
    assert status == 4, err
    assert "credentials" in err or "Invalid username or password" in err
    said += err
    # Nobody has vouched for its certificate.
    lines = secure_log.settings().splitlines()
    kept = [line for line in lines if ".pem" not in line]
    file.write_text("\n".join(kept), encoding="utf-8")
    status, _, err = k2.end(k2.publish(secure_log.url, *run, "--retry-for", "1s"))
    assert status == 3, err
    assert "certificate verify failed" in err
    said += err
    assert secure_log.password not in said
    assert wrong not in said
    assert "eof_received" not in said
