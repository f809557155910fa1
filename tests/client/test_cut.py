"""Whether a result that goes by was cut."""

from __future__ import annotations

import csv
import io

import pytest

from idac.client.cut import CutWatch


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", ["\r\n", "\n", ""])
def test_rows_of_text_are_counted_as_csv_has_them(size: int, end: str) -> None:
    text = f'name,note\r\n"a ""quoted""\r\nname",1\r\n"","\n\n"\r\nplain,""""{end}'
    sent = text.encode()
    watch = CutWatch("csv")
    assert b"".join(watch.pass_on(sent[at : at + size] for at in range(0, len(sent), size))) == sent
    assert watch.rows == len(list(csv.reader(io.StringIO(text, newline="")))) - 1 == 3
    assert (watch.is_text, watch.is_marked) == (True, False)


@pytest.mark.parametrize("size", [1, 100, 2**20, 2**22])
def test_the_mark_of_a_long_result_is_found_in_pieces_of_any_size(size: int) -> None:
    rows = b"<TR/>" * (50_000 if size == 1 else 500_000)
    sent = rows + b'</TABLE>\n<INFO value="OVERFLOW" name="QUERY_STATUS"/>\n</RESOURCE></VOTABLE>\n'
    for text, is_cut in ((sent, True), (sent.replace(b"OVERFLOW", b"OK"), False), (b"", False)):
        watch = CutWatch("votable/b2")
        assert sum(map(len, watch.pass_on(text[at : at + size] for at in range(0, len(text), size)))) == len(text)
        assert watch.is_marked is is_cut
