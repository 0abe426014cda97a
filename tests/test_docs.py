"""docs/networks.md says what the table says."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from finevox.networks import ARCHITECTURES, DISCRIMINATORS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_networks", ROOT / "docs/make_networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="not part of a source distribution")
def test_page_is_made_of_the_table(generator: ModuleType) -> None:
    """Whoever changes the table runs ``make docs``."""
    page = (ROOT / "docs/networks.md").read_text(encoding="utf-8")
    assert page == generator.page(), "docs/networks.md is not up to date: run make docs"
    assert all(f"`{name}`" in page for name in [*ARCHITECTURES, *DISCRIMINATORS])
    assert "{{" not in page
