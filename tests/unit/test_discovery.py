import pytest

from edge_agent.sources.discovery import ports, unstable_name


@pytest.fixture
def machine(tmp_path):
    """A machine with a pressure sensor that udev names, one it does not, and a modem line."""
    for name in ("ttyUSB0", "ttyUSB1", "ttyAMA0", "tty1"):
        (tmp_path / name).touch()
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-Pressure_123").symlink_to(tmp_path / "ttyUSB0")
    return tmp_path, by_id


def test_ports_are_listed_by_their_stable_names_first_and_once(machine):
    dev, by_id = machine
    expected = [by_id / "usb-Pressure_123", dev / "ttyAMA0", dev / "ttyUSB1"]
    assert sorted(ports(by_id, dev)[1:]) == [str(port) for port in expected[1:]]
    assert ports(by_id, dev)[0] == str(expected[0])


def test_a_machine_without_ports_has_none(tmp_path):
    assert ports(tmp_path / "by-id", tmp_path) == []


def test_a_numbered_name_is_warned_of_with_the_better_one(tmp_path):
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    (by_id / "usb-Pressure_123").symlink_to("/dev/ttyUSB7")
    assert "usb-Pressure_123" in unstable_name("/dev/ttyUSB7", by_id)
    assert f"a name below {by_id}" in unstable_name("/dev/ttyACM3", by_id)


@pytest.mark.parametrize("port", ["/dev/serial/by-id/usb-Pressure_123", "/dev/ttyAMA0", "/dev/pts/3"])
def test_names_that_stay_are_fine(port):
    assert unstable_name(port) == ""
