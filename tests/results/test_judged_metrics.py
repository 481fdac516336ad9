"""What pages say of metrics that were judged: by the protocol that they were judged by, and no other."""

from pathlib import Path

import pandas as pd
import pytest

from interpbench.results.judged_metrics import BUNDLED, JudgedMetric, judged, read_judged


def test_a_table_is_read_by_protocol_and_what_was_not_asked_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "judged.csv"
    path.write_text(
        "metric,protocol,orders,degradations,fooled,right,scenarios\n"
        "one,012345678901,3,5,2,1,3\n"
        "two,abcdefabcdef,,,,,\n",
        encoding="utf-8",
    )
    found = read_judged(path)
    assert found == {"012345678901": JudgedMetric(3, 5, 2, 1, 3)}
    assert found["012345678901"].text == (
        "orders 3 of 5 degradations; fooled by 2 of 3 scenarios, right in 1"
    )


def test_the_bundled_table_is_known_by_its_protocols() -> None:
    table = pd.read_csv(BUNDLED, dtype={"protocol": str})
    asked = table[table["status"] == "asked"]
    assert {"deletion", "insertion"} <= set(asked["metric"])
    for row in asked.itertuples():
        counts = (row.orders, row.degradations, row.fooled, row.right, row.scenarios)
        assert judged(row.protocol) == JudgedMetric(*map(int, counts))


@pytest.mark.parametrize("protocol", ["", "0123456789ab"])
def test_nothing_is_known_of_another_protocol(protocol: str) -> None:
    assert judged(protocol) is None
