"""What the drivers of modules share: the parts of one that no dialect makes different.

Several dialects drive a module by one task of their own (seam rule 1).  It lives as long as its port does (`life`).
Callers hand it short dialogues (`jobs`), a dialogue fails or the module is lost (`trouble`), and something wakes the
task.  Between it and the seam stand what the module holds for us (`handles`), with what came and nobody has taken:
bytes (`streams`), datagrams (`datagrams`) and peers (`listener`).  Nothing of a dialect is here.
"""
