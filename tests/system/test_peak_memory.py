from __future__ import annotations

import numpy as np
import pytest

from pipeline.system import peak_memory as peak

MB = 2**20


def test_a_peak_is_of_its_own_task() -> None:
    try:
        peak.RESET.write_text(peak.RESET_PEAK)
    except OSError:
        pytest.skip("this system keeps no peak that can be reset")
    with peak.watched() as first:
        np.ones(300 * MB, np.uint8).sum()
    with peak.watched() as second:
        np.ones(20 * MB, np.uint8).sum()
    assert first.mb > second.mb + 200


def test_a_task_beside_others_does_not_hide_their_peak() -> None:
    with peak.watched() as outer:
        np.ones(300 * MB, np.uint8).sum()
        with peak.watched() as inner:
            pass
    assert inner.mb > 300
    assert outer.mb >= inner.mb


def test_a_peak_is_noted_where_the_task_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError), peak.watched() as found:
        raise KeyError
    assert found.mb > 0
    monkeypatch.setattr(peak, "STATUS", peak.STATUS / "nothing")
    assert peak.process_peak_mb() > 0
