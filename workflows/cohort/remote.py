"""What the run sends to its workers by name, so that it need not load torch and MONAI itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finevox.pipeline.cohort.task import CaseTask
    from finevox.workflows.cohort.report_back import Report


def attempt_case(task: CaseTask) -> Report:
    """:func:`finevox.workflows.cohort.attempt.attempt_case`, loaded on the worker."""
    from finevox.workflows.cohort import attempt

    return attempt.attempt_case(task)
