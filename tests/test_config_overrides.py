"""Overrides: they fit the table, or are refused with the reason, and reach every name of a command."""

import pytest
from config_files import ONE, load, wrong

from bridge.dialects.esp_at.lines import Mask, parse

__all__ = ["load", "wrong"]  # fixtures


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("downstream.time.gaurd = 1", ["downstream.time.gaurd: the table has no such entry; did you mean guard?"]),
        ("downstream.tim.guard = 1", ["downstream.tim: a table has no such section; did you mean time?"]),
        ("downstream.time.guard = -1", ["downstream: breaks a rule of the table", "time.guard.seconds: must not be negative"]),
        ('downstream.time.guard = "1"', ["downstream.time.guard.seconds: Expected `float`, got `str`"]),
        ("downstream.time = 1", ["downstream.time: is not a table"]),
        ("downstream = 1", ["downstream: is not a table"]),
        ("time.guard = 1", ["overrides.time: overrides are for the table of one side", "overrides.upstream.time"]),
        ("downstream.time.guard = { secs = 1 }", ["downstream.time.guard.secs: a row has no such key; did you mean seconds?"]),
        ('downstream.error = [{ code = 831, condition = "nonsense" }]', ["'nonsense' is not a condition"]),
        ("downstream.error = 3", ["downstream.error: is not a list of tables"]),
        ("upstream.command.CIPSEND = 3", ["upstream.command.CIPSEND: is not a table"]),
        ("upstream.command.CIPSENDD.final = 3", ["upstream.command.CIPSENDD: the table has no such entry; did you mean CIPSEND"]),
    ],
)
def test_an_override_that_does_not_fit(wrong, override, said):
    text = ONE.replace('"local"', '"wip@modem"') + f"[bridge.gate.overrides]\n{override}\n"
    wrong(text, "bridge.gate.overrides.", *said)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('text.ok = "OK{"', "overrides.upstream.text.ok.text: Single '{' encountered in format string; a brace that is meant"),
        ('text.connect = "{nmber}CONNECT"', "text.connect.text: nothing fills in {nmber}; what can be filled in here: {id}"),
        ('text.ok = "{id}OK"', "text.ok.text: nothing fills in {id}; what can be filled in here: nothing"),
        ('text.err_code = "{code:d}"', "text.err_code.text: nothing fills in {code:d}; what can be filled in here: {code:08x}"),
        ('text.err_code = { text = "{code}" }', ""),
        ('text.recvdata = "{length}:"', ""),
        ('text.connect = "{{{id}}}"', ""),
        ('refusal = [{ condition = "*", text = "{id}ERR{mux}" }]', ""),
        ('refusal = [{ condition = "*", text = "{cause}ERR" }]', "refusal[0].text: nothing fills in {cause}; what can be"),
    ],
)
def test_an_overridden_text_that_cannot_be_filled_in(load, wrong, override, said):
    text = ONE + f"[bridge.gate.overrides.upstream]\n{override}\n"
    if said:
        wrong(text, said)
    else:
        load(text)


def nonos(load, override):
    text = ONE.replace('"esp-at@', '"esp-at:nonos-1.7@') + f"[bridge.gate.overrides.upstream.command]\n{override}\n"
    assert "nonos" in text
    return load(text).bridges[0].upstream_table.command


def test_an_override_reaches_every_name_of_its_command(load):
    rows = nonos(load, "CWJAP.final = 77.0\nCWJAP_DEF.final = 55.0\nCWMODE_CUR.note = 'x'\nCWMODE.note = 'y'")
    assert [rows[name].final for name in ("CWJAP", "CWJAP_CUR", "CWJAP_DEF")] == [77, 77, 55]
    assert [rows[name].note for name in ("CWMODE", "CWMODE_CUR", "CWMODE_DEF")] == ["y", "x", "y"]
    assert rows["CWJAP_CUR"].secret == rows["CWJAP"].secret == ("password",)
    assert rows["CWJAP_CUR"].source.startswith("Espressif")
    assert rows["CWJAP_DEF"].source.startswith("configuration")


def test_a_refused_command_is_refused_by_every_name_and_its_arguments_stay_secret(load):
    rows = nonos(load, "CWJAP = { disposition = 'refused', why = 'w' }\nCWMODE_DEF = { disposition = 'refused', why = 'v' }")
    for name in ("CWJAP", "CWJAP_CUR", "CWJAP_DEF"):
        assert (rows[name].disposition, rows[name].why, rows[name].hook, rows[name].set) == ("refused", "w", "", None)
        assert rows[name].secret == ("password",)
    line = b'AT+CWJAP_DEF="a","hush"\r\n'
    assert b"hush" not in Mask(rows).line(line, parse(line))
    assert rows["CWMODE_DEF"].why == "v"
    assert rows["CWMODE_CUR"].disposition != "refused"
    assert not rows["CWMODE_DEF"].same


def test_overrides_reach_the_tables(load, tmp_path):
    text = ONE.replace('"local"', '"wip@modem"')
    plain = load(text).bridges[0]
    (options,) = load(
        text
        + """\
[bridge.gate.overrides.downstream]
time.guard = 1.5
error = [{ code = 99999, condition = "link-reset" }, { code = 842, condition = "aborted" }]
[bridge.gate.overrides.upstream.command.GMR]
disposition = "refused"
why = "this host takes it badly"
"""
    ).bridges
    down, up = options.downstream_table, options.upstream_table
    assert down.seconds("guard") == 1.5 != plain.downstream_table.seconds("guard")
    assert down.condition_of(99999) == "link-reset"
    assert down.condition_of(842) == "aborted"
    assert up.command["GMR"].disposition == "refused"
    assert down.time["guard"].source == f"configuration {tmp_path}/bridge.toml"
    hashes = [o.about()["downstream"]["table"] for o in (plain, options)]
    assert hashes[0] != hashes[1]
    assert load(text).bridges[0].about() == plain.about()


def test_local_has_no_table(wrong):
    wrong(ONE + "[bridge.gate.overrides.downstream]\ntime.guard = 1\n", "bridge.gate.overrides.downstream: local has no table")
