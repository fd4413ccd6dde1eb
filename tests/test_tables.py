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
