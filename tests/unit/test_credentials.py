from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.alerts.credentials import SecretError, check_files, read_secret
from edge_agent.alerts.settings import MqttSettings


def secret(folder: Path, text: str = "hunter2\n", mode: int = 0o600) -> Path:
    path = folder / "password"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_secret_is_read_without_its_line_end(tmp_path: Path) -> None:
    assert read_secret(str(secret(tmp_path)), {}) == "hunter2"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_secret_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretError, match=r"others may read it: chmod 0600"):
        read_secret(str(secret(tmp_path, mode=mode)), {})


def test_a_bare_name_is_a_systemd_credential_whose_mode_systemd_guards(tmp_path: Path) -> None:
    secret(tmp_path, mode=0o440)

    assert read_secret("password", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "hunter2"


def test_a_credential_that_nobody_set_is_empty(tmp_path: Path) -> None:
    secret(tmp_path, "__unset__")

    assert read_secret("password", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == ""


@pytest.mark.parametrize("text", ["x" * 70_000])
def test_a_secret_without_bound_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SecretError, match="more than"):
        read_secret(str(secret(tmp_path, text)), {})


def test_a_secret_that_is_no_text_or_no_file_is_refused(tmp_path: Path) -> None:
    secret(tmp_path).write_bytes(b"\xff\xfe")
    with pytest.raises(SecretError, match="cannot be read"):
        read_secret(str(tmp_path / "password"), {})
    with pytest.raises(SecretError, match="must be a file"):
        read_secret(str(tmp_path), {})
    with pytest.raises(SecretError, match="No such file"):
        read_secret(str(tmp_path / "none"), {})


def test_check_names_every_file_that_will_not_do(tmp_path: Path) -> None:
    settings = MqttSettings(
        username="u",
        password_file=str(secret(tmp_path, mode=0o644)),
        tls=True,
        ca_file=str(tmp_path / "ca.pem"),
        cert_file=str(tmp_path / "cert.pem"),
        key_file=str(tmp_path / "key.pem"),
    )

    places = [problem.place for problem in check_files(settings, {})]

    assert places == ["mqtt.password_file", "mqtt.key_file", "mqtt.ca_file", "mqtt.cert_file"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"transport": "udp"}, "transport"),
        ({"protocol": "4"}, "protocol"),
        ({"host": ""}, "host"),
        ({"port": 70_000}, "port"),
        ({"keepalive_s": 1}, "keepalive_s"),
        ({"connect_timeout_s": 0.0}, "connect_timeout_s"),
        ({"root": "a/+"}, "root"),
        ({"cert_file": "c"}, "go together"),
        ({"password_file": "p"}, "username"),
        ({"ca_file": "c"}, "tls = true"),
        ({"tls": True, "transport": "unix"}, "tcp"),
    ],
)
def test_settings_that_could_never_connect_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MqttSettings(**wrong)  # type: ignore[arg-type]


def test_the_port_follows_from_tls() -> None:
    assert MqttSettings(host="b").address == "b:1883"
    assert MqttSettings(host="b", tls=True).address == "b:8883 (TLS)"
    assert MqttSettings(host="/run/s", transport="unix").address == "/run/s"
