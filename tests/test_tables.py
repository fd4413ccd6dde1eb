"""The rules of mapping tables: a contributor's row cannot break one unnoticed."""

import pytest

from bridge import dialects, tables
from bridge.model import Condition

HEAD = '[dialect]\nname = "x"\ntitle = "X"\ndefault = "p"\n[profile.p]\ntitle = "P"\nsource = "s"\n'
BAD = [
    ("[time.t]\nseconds = 1.0", "source"),
    ('[time.t]\nseconds = 1.0\nsource = " "', "time.t.source"),
    ('[time.t]\nseconds = -1.0\nsource = "s"', "time.t.seconds"),
    ('[template.t]\nsend = "AT"\nsource = "s"', "limit"),
    ('[template.t]\nsend = "AT"\nlimit = 0.0\nsource = "s"', "template.t.limit"),
    ('[urc.a]\npattern = "+A: {n:int}"\nsource = "s"\n[urc.b]\npattern = "+A: {m:rest}"\nsource = "s"', "overlaps"),
    ('[urc.a]\npattern = "+A: {n:number}"\nsource = "s"', "urc.a.pattern"),
    ('[[error]]\ncode = 1\ncondition = "bad-luck"\nsource = "s"', "error[0].condition"),
    ('[[refusal]]\ncondition = "bad-luck"\ntext = "E"\nsource = "s"', "refusal[0].condition"),
    ('[command.C]\nsource = "s"\nexecute = true', "disposition"),
    ('[command.C]\ndisposition = "translated"\nexecute = true\nsource = "s"', "command.C.final"),
    ('[command.C]\ndisposition = "answered"\nexecute = true\nsource = "s"', "command.C.why"),
    ('[command.C]\ndisposition = "refused"\nwhy = "w"\nhook = "h"\nsource = "s"', "command.C"),
    ('[command.C]\ndisposition = "answered"\nwhy = "w"\nsource = "s"', "has no form"),
    ('[command.C]\ndisposition = "answered"\nwhy = "w"\nset = ["password:str"]\nsource = "s"', "looks secret"),
    ('[command.C]\ndisposition = "answered"\nwhy = "w"\nset = ["a:str"]\nsecret = ["b"]\nsource = "s"', "no argument"),
    ('[command.C]\ndisposition = "answered"\nwhy = "w"\nset = ["a:colour"]\nsource = "s"', "command.C.set"),
    ('[command.C]\ndisposition = "answered"\nwhy = "w"\nset = ["a:int(9..1)"]\nsource = "s"', "command.C.set"),
    ('[command.C]\ndisposition = "done"\nsource = "s"', "done"),
    ('[text.t]\ntext = "a{"\nsource = "s"', "text.t.text: Single '{'"),
    ('[text.t]\ntext = "a}b"\nsource = "s"', "text.t.text: Single '}'"),
    ('[text.t]\ntext = "{}"\nsource = "s"', "text.t.text: {} is no name"),
    ('[text.t]\ntext = "{0}"\nsource = "s"', "text.t.text: {0} is no name"),
    ('[text.t]\ntext = "{a.b}"\nsource = "s"', "text.t.text: {a.b} is no name"),
    ('[text.t]\ntext = "{a[b]}"\nsource = "s"', "text.t.text: {a[b]} is no name"),
    ('[text.t]\ntext = "{a!r}"\nsource = "s"', "text.t.text: {a} is no name"),
    ('[text.t]\ntext = "{a:{b}}"\nsource = "s"', "text.t.text: {a} has a format with a brace"),
    ('[template.t]\nsend = "AT{"\nlimit = 1.0\nsource = "s"', "template.t.send: "),
    ('[[refusal]]\ncondition = "*"\ntext = "{"\nsource = "s"', "refusal[0].text: "),
    ("[comand.C]\n", "comand"),
    ("[dialect\n", "not TOML"),
]


@pytest.mark.parametrize(("rows", "said"), BAD, ids=[said + str(n) for n, (_, said) in enumerate(BAD)])
def test_a_broken_rule_is_named_with_its_place(rows, said):
    with pytest.raises(tables.TableError) as refused:
        tables.parse(HEAD + rows, "mappings/x.toml")
    assert "mappings/x.toml" in str(refused.value)
    assert said in str(refused.value)


def test_profiles_inherit_and_a_circle_is_refused():
    text = HEAD + '[time.t]\nseconds = 1.0\nsource = "s"\n[profile.q]\nextends = "p"\n[profile.q.time.t]\nseconds = 2.0\n'
    assert tables.parse(text, "f").seconds("t") == 1.0
    assert tables.parse(text, "f", "q").seconds("t") == 2.0
    with pytest.raises(tables.TableError, match="there are: p, q"):
        tables.parse(text, "f", "r")
    with pytest.raises(tables.TableError, match="circle"):
        tables.parse(text.replace('title = "P"', 'extends = "q"'), "f")


ROW = 'disposition = "answered"\nwhy = "w"\nquery = true\nsource = "s"\n'
LAYERS = [
    ('[command.A]\nsame = "B"\nsource = "s"\n', "command.A.same: 'B'"),
    ('[command.A]\nsame = "A"\nsource = "s"\n', "command.A.same: 'A'"),
    (f'[command.C]\n{ROW}[command.B]\nsame = "C"\nsource = "s"\n[command.A]\nsame = "B"\nsource = "s"\n', "command.A.same: 'B'"),
    (f'[command.A]\n{ROW}[absent.x]\ncommands = ["A"]\nwhy = "w"\nsource = "s"\n', "absent.x: 'A'"),
    ('[absent.x]\ncommands = ["A"]\nsource = "s"\n', "absent.x: commands, why and source"),
    ('[absent.x]\ncommands = ["A"]\nwhy = "w"\nsource = "s"\nhook = "h"\n', "absent.x: commands, why and source"),
    ('[absent.x]\ncommands = ["A"]\nwhy = ""\nsource = "s"\n', "command.A.why"),
    ("absent = 3\n", "absent: expected a table"),
    ("command = 3\n", "command: expected a table"),
    ("[command]\nA = 3\n", "A: expected a table"),
]


@pytest.mark.parametrize(("rows", "said"), LAYERS, ids=range(len(LAYERS)))
def test_layers_that_do_not_fit_are_named(rows, said):
    text = rows + HEAD if rows.startswith(("absent =", "command =")) else HEAD + rows
    with pytest.raises(tables.TableError) as refused:
        tables.parse(text, "mappings/x.toml")
    assert said in str(refused.value)


def test_a_profile_takes_commands_away_and_brings_others():
    text = (
        HEAD
        + f'[command.A]\n{ROW}set = ["password:str", "n:int(0..1)"]\nsecret = ["password"]\nhook = "h"\n'
        + '[command.B]\ndisposition = "refused"\nwhy = "old"\nsource = "s"\n'
        + '[profile.q]\nextends = "p"\n[profile.q.absent.x]\ncommands = ["A", "Z"]\nwhy = "gone"\nsource = "t"\n'
        + f'[profile.q.command.B]\n{ROW}[profile.q.command.C]\nsame = "B"\nsource = "u"\nexecute = true\n'
        + '[profile.r]\nextends = "q"\n[profile.r.command.A]\ndisposition = "answered"\nwhy = "w"\nexecute = true\nsource = "v"\n'
        + '[profile.r.command.B]\nnote = "n"\n'
    )
    old, new, last = (tables.parse(text, "f", name) for name in "pqr")
    assert old.command["A"].hook == "h"
    assert old.command["B"].disposition == "refused"
    assert "C" not in old.command
    gone = new.command["A"]
    assert (gone.disposition, gone.why, gone.hook, gone.set, gone.source) == ("refused", "gone", "", None, "t")
    assert gone.secret == ("password",)  # hosts type it all the same
    assert new.command["Z"].disposition == "refused"
    assert new.command["B"].query
    assert (new.command["C"].query, new.command["C"].execute, new.command["C"].source) == (True, True, "u")
    assert (last.command["A"].set, last.command["A"].execute, last.command["A"].secret) == (None, True, ())
    assert (last.command["B"].query, last.command["B"].note, last.command["C"].note) == (True, "n", "n")


def test_the_most_specific_refusal_wins_and_of_equals_the_later():
    def row(text, condition="*", **keys):
        narrowed = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
        return f'[[refusal]]\ncondition = "{condition}"\ntext = "{text}"\nsource = "s"\n{narrowed}'

    rows = [
        row("any"),
        row("at work", during="C"),
        row("at once", before="C"),
        row("about x", before="C", about="x"),
        row("too long", "too-long"),
        row("too long at once", "too-long", before="C"),
        row("first", "wrong-state"),
        row("second", "wrong-state"),
    ]
    for text in (HEAD + "".join(rows), HEAD + "".join(rows[:6][::-1] + rows[6:])):
        said = tables.parse(text, "f").refusal_of
        assert said(Condition.NOT_SUPPORTED) == "any"
        assert said(Condition.NOT_SUPPORTED, "D", "", "x") == "any"
        assert said(Condition.NOT_SUPPORTED, "C", "", "x") == "at work"
        assert said(Condition.NOT_SUPPORTED, "", "C") == "at once"
        assert said(Condition.NOT_SUPPORTED, "", "C", "y") == "at once"
        assert said(Condition.NOT_SUPPORTED, "", "C", "x") == "about x"
        assert said(Condition.TOO_LONG, "C") == "too long"
        assert said(Condition.TOO_LONG, "", "C", "x") == "too long at once"
        assert said(Condition.WRONG_STATE) == "second"


def test_the_most_specific_error_row_wins():
    rows = "".join(
        f'[[error]]\ncode = 831\ncondition = "{condition}"\nsource = "s"\n{more}\n'
        for condition, more in (
            ("peer-closed", 'during = "D"\nafter = "A"'),
            ("link-reset", 'during = "D"'),
            ("wrong-state", ""),
        )
    )
    table = tables.parse(HEAD + rows, "f")
    assert table.condition_of(831, "D", "A") is Condition.PEER_CLOSED
    assert table.condition_of(831, "D") is Condition.LINK_RESET
    assert table.condition_of(831, "E") is Condition.WRONG_STATE
    assert table.condition_of(832) is Condition.MODULE_ERROR


@pytest.mark.parametrize("name", tables.names())
def test_every_row_of_every_profile_is_read(name):
    for profile in tables.profiles(name):
        assert tables.unread(tables.load(name, profile), dialects.folder(name)) == []


def test_a_row_that_nobody_reads_is_found(tmp_path):
    (tmp_path / "code.py").write_text('profile.seconds("used")\n')
    rows = "".join(f'[time.{name}]\nseconds = 1.0\nsource = "s"\n' for name in ("used", "dead"))
    assert tables.unread(tables.parse(HEAD + rows, "f"), tmp_path) == ["time.dead"]
