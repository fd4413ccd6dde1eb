"""What the drivers of modules share: dialogues that wait for the driver's task, and how they end.

Several dialects drive a module by one task of their own (seam rule 1).  Callers hand it short dialogues (`jobs`), a
dialogue fails or the module is lost (`trouble`), and something wakes the task.  Nothing of a dialect is here.
"""
