"""Whoever dumps with a program that has a known hole is told which."""

import pytest

from backups.client_holes import HOLES, holes_of, warnings_of


@pytest.mark.parametrize(
    ("version", "cves"),
    [
        ("15.13", ["CVE-2025-8714", "CVE-2025-8715", "CVE-2026-18408"]),
        ("15.14", ["CVE-2026-18408"]),
        ("15.19", []),
        ("16.9", ["CVE-2025-8714", "CVE-2025-8715", "CVE-2026-18408"]),
        ("16.15", []),
        ("17.5", ["CVE-2025-8714", "CVE-2025-8715", "CVE-2026-18408"]),
        ("18.0", ["CVE-2026-18408"]),
        ("18.6", []),
        ("18beta1", []),
    ],
)
def test_the_holes_of_a_version_are_those_closed_after_it(version: str, cves: list[str]) -> None:
    assert [hole.cve for hole in holes_of(version)] == cves


def test_a_warning_names_the_hole_the_way_out_and_its_source() -> None:
    (warning,) = warnings_of("16.14")

    assert "CVE-2026-18408" in warning
    assert "16.15" in warning
    assert "https://www.postgresql.org/support/security/CVE-2026-18408/" in warning


def test_every_hole_is_closed_somewhere() -> None:
    assert all(hole.closed_in for hole in HOLES)
