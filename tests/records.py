"""Records of scans as a cohort's manifest has them."""

from __future__ import annotations

from typing import Any

from finevox.pipeline.cohort.record import Record

TIME = "2025-03-01T20:00:00.000+00:00"
PAPER = "Du et al., Fast and Memory-Efficient Network, 2022, doi:10.1109/CVPRW56347.2022.00101"


def record(case: str, state: Any = "done", **facts: Any) -> Record:
    basic: dict[str, Any] = {
        "run": "one",
        "attempt": f"{case}-1",
        "time": TIME,
        "source": f"/data/{case}.nii.gz",
        "contrast": "T1w",
        "subject": case,
    }
    if state == "done":
        basic |= {
            "settings_sha256": "a" * 64,
            "weights_sha256": "f" * 64,
            "seconds": 12.5,
            "peak_memory_bytes": 3 * 2**30,
            "versions": {"finevox": "0.1.0", "torch": "2.9.0"},
            "grid": {
                "source_shape": [10, 10, 10],
                "source_spacing_mm": [1.0, 1.0, 2.0],
                "shape": [20, 20, 10],
                "spacing_mm": [0.5, 0.5, 2.0],
                "convention": "fov",
            },
            "summary": "Resolution enhanced 2-fold by fmen",
            "references": [PAPER],
        }
    return Record(case=case, state=state, **basic | facts)
