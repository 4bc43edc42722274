"""A drill proves that a backup restores into the same content, or says what is not the same."""

from backups.records import DrillReport
from tests.backups.conftest import Made


def test_a_backup_of_everything_restores_without_a_difference(
    drilled: tuple[Made, DrillReport],
) -> None:
    made, report = drilled

    assert report.differences == ()
    assert report.outcome == "passed"
    assert report.rows == made.manifest.rows > 400
    assert report.large_objects == 2
