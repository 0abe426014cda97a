"""The page of a cohort: everything on it is true, escaped, and inside it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from records import PAPER, TIME, record

from finevox.errors import CohortError, InputError
from finevox.pipeline.cohort.manifest import to_line
from finevox.pipeline.cohort.record import Record, Run
from finevox.workflows.cohort.report import write_report

EVIL = "<script>alert('x')</script>\"&"


def leave(output: Path, records: Iterable[Record], **facts: Any) -> Path:
    """The files that one run leaves behind."""
    records = list(records)
    basic: dict[str, Any] = {
        "command": "finevox cohort in out",
        "job": "upscale",
        "layout": "images",
        "inputs": ["in"],
        "output": str(output),
        "settings": {"upscale": {"scale": 2, "network": None}},
        "cases": [own.case for own in records],
        "started": TIME,
        "ended": "2025-03-01T21:30:00.000+00:00",
        "outcome": "finished",
        "host": "node07",
        "pid": 4242,
        "workers": 2,
    }
    run = Run(run="one", **basic | facts)
    private = output / ".finevox"
    (private / "runs").mkdir(parents=True)
    (private / "manifest.jsonl").write_bytes(b"".join(map(to_line, records)))
    (private / "runs" / "one.json").write_text(json.dumps(run.to_json()), encoding="utf-8")
    return output


def put(output: Path, place: str, content: bytes) -> str:
    path = output / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return place


def thumbnail(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 24), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "WEBP")
    return content.getvalue()


class Reader(HTMLParser):
    """Tags with their attributes, text, and the cells of tables by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.inside.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def scans(self) -> list[tuple[str, str]]:
        """Name and state of each row of the table of scans, in order."""
        rows = []
        for index, (tag, own) in enumerate(self.tags):
            if tag == "tr" and "data-scan" in own:
                name = next(a["data-value"] for t, a in self.tags[index:] if t == "th")
                rows.append((str(name), str(own["data-state"])))
        return rows

    def figures(self, tag: str) -> dict[tuple[str, str], float]:
        """Every figure in table cells (``td``) or cards (``dd``), by scan and name."""
        found = {}
        case = ""
        names = {own["data-scan"]: None for t, own in self.tags if t == "tr" and "data-scan" in own}
        by_anchor = dict(zip(names, (name for name, _ in self.scans()), strict=True))
        for own_tag, own in self.tags:
            if own_tag == "tr" and "data-scan" in own:
                case = by_anchor[own["data-scan"]]
            if own_tag == "li" and own.get("class", "") and "card" in str(own["class"]):
                case = by_anchor[own["id"]]
            if own_tag == tag and "data-key" in own:
                found[case, str(own["data-key"])] = float(str(own["data-value"]))
        return found


def read(output: Path) -> Reader:
    return Reader(write_report(output).read_text(encoding="utf-8"))


def cohort_of(count: int, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    return [
        record(
            f"sub-{index}",
            contrast=("T1w", "T2w")[index % 2],
            seconds=float(rng.uniform(10, 20)),
            metrics={
                "consistency_db": float(rng.uniform(44, 46)),
                "mean_change_pct": float(rng.uniform(-0.1, 0.1)),
                "fov_change_mm": 0.0,
                "com_shift_mm": None,
                "mean_in": float(rng.uniform(100, 1000)),
                "own_figure": float(rng.uniform()),
            },
        )
        for index in range(count)
    ]


def test_every_scan_and_every_number_is_that_of_the_manifest(tmp_path: Path) -> None:
    records = [*cohort_of(30), record("bad", "failed", reason="bad is empty")]
    page = read(leave(tmp_path, records, cases=[*(own.case for own in records), "later"]))
    assert dict(page.scans()) == {
        **{own.case: own.state for own in records},
        "later": "pending",
    }
    want = {
        (own.case, name): value
        for own in records
        if own.state == "done"
        for name, value in (
            *own.metrics.items(),
            ("seconds", own.seconds),
            ("peak_memory_bytes", own.peak_memory_bytes),
        )
        if value is not None
    }
    # Cards have every figure, the table those that are compared most.
    assert page.figures("dd") == want
    cells = page.figures("td")
    assert cells.items() <= want.items()
    assert {name for _, name in cells} == {
        "consistency_db",
        "mean_change_pct",
        "fov_change_mm",
        "seconds",
        "peak_memory_bytes",
    }


def test_totals_runs_versions_and_settings_are_on_the_page(tmp_path: Path) -> None:
    text = read(leave(tmp_path, [*cohort_of(3), record("z", "failed", reason="no")])).text
    assert "4 scans" not in text  # 3 were done
    for words in ("finished", "1 h 30 min", "finevox cohort in out", "upscale.scale", "2.9.0"):
        assert words in text
    assert "upscale.network" not in text


def test_names_and_reasons_are_text_and_nothing_else(tmp_path: Path) -> None:
    place = put(tmp_path, ".finevox/tracebacks/x.txt", f"Error: {EVIL}".encode())
    records = [
        record(f"a{EVIL}", contrast=EVIL, metrics={EVIL: 1.0}, warnings=[EVIL], summary=EVIL),
        record(
            f"b{EVIL}", "failed", reason=EVIL, traceback=place, contrast=EVIL, site=EVIL,
            subject=EVIL,
        ),
    ]  # fmt: skip
    output = leave(tmp_path, records, command=EVIL, settings={EVIL: EVIL}, reason=EVIL)
    page = write_report(output).read_text(encoding="utf-8")
    assert EVIL not in page
    reader = Reader(page)
    assert sum(tag == "script" for tag, _ in reader.tags) == 1
    assert not [name for _, own in reader.tags for name in own if name.startswith("on")]
    assert {f"a{EVIL}", f"b{EVIL}"} == set(dict(reader.scans()))
    assert f"Error: {EVIL}" in "".join(reader.texts)


def test_page_loads_nothing_and_lets_nothing_be_loaded(tmp_path: Path) -> None:
    place = put(tmp_path, ".finevox/thumbnails/a.webp", thumbnail(1))
    page = write_report(leave(tmp_path, [record("a", thumbnail=place)])).read_text("utf-8")
    reader = Reader(page)
    for tag, own in reader.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "video", "audio")
        assert "style" not in own
        for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
            assert (own.get(name) or "#").startswith(("#", "data:image/webp;base64,"))
    assert "url(" not in page
    assert "@import" not in page
    policy = next(
        str(own["content"])
        for tag, own in reader.tags
        if own.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    # The policy lets this style and this script run, and no other.
    for tag in ("style", "script"):
        found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert found is not None
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_pictures_are_inside_and_lazy(tmp_path: Path) -> None:
    records = []
    for index in range(4):
        place = put(tmp_path, f".finevox/thumbnails/{index}.webp", thumbnail(index))
        records.append(record(str(index), thumbnail=place))
    outside = put(tmp_path, "secret.webp", b"secret")
    records += [
        record("gone", thumbnail=".finevox/thumbnails/gone.webp"),
        record("none"),
        record("out", thumbnail=f"../{outside}"),
    ]
    inside = tmp_path / "out"
    for own in records[:4]:
        put(inside, str(own.thumbnail), (tmp_path / str(own.thumbnail)).read_bytes())
    page = read(leave(inside, records))
    images = [own for tag, own in page.tags if tag == "img"]
    prefix = "data:image/webp;base64,"
    contents = [base64.b64decode(str(own["src"]).removeprefix(prefix)) for own in images]
    assert contents == [thumbnail(index) for index in range(4)]
    assert all(own["loading"] == "lazy" and own["decoding"] == "async" for own in images)
    assert all(own["alt"] for own in images)
    assert page.text.count("no picture") == 3


def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    records = [*cohort_of(40), record("bad", "failed", reason="no")]
    records[7] = record("sub-7", contrast="T2w", metrics={"consistency_db": 9.0})
    page = read(leave(tmp_path, records, cases=[*(own.case for own in records), "later"]))
    places = [str(own["id"]) for _, own in page.tags if "id" in own]
    assert len(places) == len(set(places))
    links = {str(own["href"])[1:] for tag, own in page.tags if tag == "a"}
    assert links <= set(places)
    assert page.scans()[0] == ("sub-7", "done")
    # The scan that stands out is linked from the table, the drawing and the text beside it.
    anchor = next(str(own["data-scan"]) for _, own in page.tags if own.get("data-strange") == "yes")
    assert sum(own.get("href") == f"#{anchor}" for _, own in page.tags) >= 3


def test_scans_that_stand_out_come_first_then_numbers_by_size(tmp_path: Path) -> None:
    values = dict.fromkeys((f"scan-{index}" for index in range(12)), 40.0)
    values |= {"scan-1": 40.3, "scan-3": 39.7, "scan-2": 40.1, "scan-10": 20.0, "scan-9": 21.0}
    records = [record(case, metrics={"psnr_db": value}) for case, value in values.items()]
    names = [name for name, _ in read(leave(tmp_path, records)).scans()]
    assert names[:2] == ["scan-9", "scan-10"]
    assert names[2:] == [f"scan-{index}" for index in (0, *range(1, 9), 11)]


def test_methods_say_what_was_done_and_what_was_not(tmp_path: Path) -> None:
    records = [*cohort_of(12), record("z", "failed", reason="no")]
    records[1] = record("sub-1", settings_sha256="b" * 64, contrast="T2w", weights_sha256="e" * 64)
    text = read(leave(tmp_path, records, cases=[*(own.case for own in records), "later"])).text
    for words in (
        "12 scans (6 T1w, 6 T2w) of 12 subjects were processed, of 14 in all",
        "1 failed, 1 not processed yet",
        f"11 scans; weights with SHA-256 {'f' * 64}",
        f"1 scan; weights with SHA-256 {'e' * 64}",
        "the field of view was kept",
        "from 1 x 1 x 2 to 0.5 x 0.5 x 2 mm",
        "Not all scans of one contrast were processed with the same settings",
        "finevox 0.1.0 with PyTorch 2.9.0",
        PAPER,
        "doi:10.48550/arXiv.2211.02701",
    ):
        assert words in text


def test_methods_of_a_round_trip_name_its_degradation(tmp_path: Path) -> None:
    first, second = (
        replace(one, grid={**one.grid, "convention": "kspace"}) for one in cohort_of(2)
    )
    text = read(leave(tmp_path / "one", [first, second], job="roundtrip")).text
    assert "reduced in resolution by kspace degradation, enlarged again and compared" in text
    assert "original" in text
    # Rows of a list may have different ones, whatever the settings of the run are.
    other = replace(second, grid={**second.grid, "convention": "fov"})
    text = read(leave(tmp_path / "two", [first, other], job="roundtrip")).text
    assert "by bicubic or kspace degradation" in text


@pytest.mark.parametrize(
    "records",
    [[], [record("a", "failed", reason="no")], [record("a")], [record("a", metrics={"ssim": 1.0})]],
    ids=["empty", "all failed", "one without figures", "one"],
)
def test_small_cohorts_have_a_page(tmp_path: Path, records: list[Record]) -> None:
    page = read(leave(tmp_path, records))
    assert len(page.scans()) == len(records)
    assert "Methods" in page.text


def test_traceback_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = record("a", "failed", reason="no", traceback=".finevox/tracebacks/a.txt")
    assert "is not there any more" in read(leave(tmp_path, [gone])).text


def test_page_is_replaced_as_a_whole(tmp_path: Path) -> None:
    output = leave(tmp_path / "out", cohort_of(2))
    first = write_report(output)
    assert first == output / "finevox-report.html"
    assert write_report(output) == first
    elsewhere = write_report(output, tmp_path / "page.html")
    assert elsewhere.read_bytes() == first.read_bytes()
    assert sorted(path.name for path in output.iterdir()) == [".finevox", "finevox-report.html"]
    with pytest.raises(InputError, match="cannot be written"):
        write_report(output, tmp_path / "no folder" / "page.html")


def test_no_records_no_page(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="looked for"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []
